"""A run directory's settings, result and lock."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from igan_tf.errors import ConfigError, InputError
from igan_tf.experiments.configs import FLAGS_FILE, RunConfig, as_text, config_from_text
from igan_tf.files import StrPath, disk, durable, json_files, locks
from igan_tf.pretrained import run_folder
from igan_tf.training.checkpoints import WEIGHTS_OF, CheckpointError, Checkpoints, differences
from igan_tf.training.run_log import METRICS_FILE, read_metrics

RESULT_FILE = "result.json"

_RESULT = json_files.record(
    {"epochs": json_files.WHOLE, "steps": json_files.WHOLE, "seed": json_files.WHOLE},
    {
        "test_error": json_files.NUMBER,
        "averaged_test_error": json_files.NUMBER,
        "labels": json_files.WHOLE,
        "draws": json_files.listing({"type": "object"}, 1),
    },
    others=json_files.ANYTHING,
)


def save_config(run_dir: StrPath, config: RunConfig) -> None:
    """Writes `flags.cfg`; given as `--flagfile` it repeats the run elsewhere."""
    durable.write_text(Path(run_dir) / FLAGS_FILE, as_text(config))


def read_config(run_dir: StrPath) -> RunConfig:
    """The `RunConfig` that a run directory was started with."""
    folder = run_folder(run_dir)
    _refuse_links(folder)
    path = folder / FLAGS_FILE
    try:
        config = config_from_text(disk.read_small(path).decode())
    except InputError as error:
        raise ConfigError(f"`run_dir={run_dir}`: {FLAGS_FILE} cannot be used: {error}") from error
    except FileNotFoundError as error:
        what = f"has no {FLAGS_FILE}" if Path(run_dir).is_dir() else "does not exist"
        raise ConfigError(f"`run_dir={run_dir}` is not the directory of a run: it {what}") from error
    # A ValueError is of text that is no UTF-8, or of a NUL in the path.
    except (OSError, ValueError) as error:
        raise ConfigError(f"`run_dir={run_dir}` is not the directory of a run: {error}") from error
    # Before there was a choice of noise, all of it came from the table.
    return dataclasses.replace(config, noise="table") if config.noise == "auto" else config


def _refuse_links(run_dir: StrPath) -> None:
    """Raises a ConfigError where a folder in a run directory is a link, through which others' files would change."""
    try:
        with os.scandir(run_dir) as entries:
            linked = [entry.name for entry in entries if entry.is_symlink() and entry.is_dir()]
    except (OSError, ValueError):
        # What is read or made next says why.
        return
    if linked:
        raise ConfigError(
            f"`run_dir={run_dir}` holds a link to a folder, {sorted(linked)[0]}: a run lies in one place; link the "
            "whole run directory instead"
        )


def holds_weights_alone(run_dir: StrPath) -> bool:
    """Whether a run directory is the package's own, or one that was exported: weights, and nothing of their training.

    Raises:
        ConfigError: for a name that there is not, and for a folder that cannot be read.
    """
    folder = run_folder(run_dir)
    try:
        # A run has metrics from its first epoch on: its checkpoints, which may be large, are not read for this.
        if (folder / METRICS_FILE).exists():
            return False
        saved = Checkpoints(folder / "checkpoints", warn=lambda line: None).load_newest()
    except CheckpointError:
        # Who takes it up says what is damaged.
        return False
    except OSError as error:
        raise ConfigError(f"`run_dir={run_dir}` cannot be read: {error}") from error
    return saved is not None and WEIGHTS_OF in saved.position


def has_begun(run_dir: StrPath) -> bool:
    """Whether a run directory holds settings and something trained by them: a result, or a checkpoint of any part.

    Checkpoints count that are lost, beside metrics.
    """
    run_dir = Path(run_dir)
    if not (run_dir / FLAGS_FILE).exists():
        return False
    patterns = [f"{draw}{baseline}checkpoints/step-*" for draw in ("", "draw-*/") for baseline in ("", "supervised/")]
    metrics = (*run_dir.glob(METRICS_FILE), *run_dir.glob(f"draw-*/{METRICS_FILE}"))
    lost = any(not (path.parent / "checkpoints").exists() for path in metrics)
    return lost or (run_dir / RESULT_FILE).exists() or any(next(run_dir.glob(pattern), None) for pattern in patterns)


def refuse_other_settings(run_dir: StrPath, config: RunConfig) -> None:
    """Raises a ConfigError that lists every setting in which `config` and the run begun in `run_dir` differ.

    Also where there are weights alone, from which no training continues. Of a run that ended before its first
    checkpoint nothing continues: one with other settings may take its place.
    """
    if holds_weights_alone(run_dir):
        raise ConfigError(
            f"`run_dir={run_dir}` is sampled and scored, and stays as it is; `init_from={run_dir}` starts a training "
            "with its weights"
        )
    if has_begun(run_dir):
        changed = differences(read_config(run_dir).fixed(), config.fixed())
        if changed:
            raise ConfigError(
                f"`run_dir={run_dir}` holds a run with other settings; name another folder, or set these back:\n  "
                + "\n  ".join(changed)
            )
        refuse_fewer_epochs(run_dir, config, (read_result(run_dir) or {"epochs": 0})["epochs"])


def refuse_fewer_epochs(run_dir: StrPath, config: RunConfig, begun: int) -> None:
    """Raises a ConfigError where `config` asks for fewer epochs than are begun."""
    if config.epochs < begun:
        raise ConfigError(
            f"`epochs` must be at least {begun}, which the run in `run_dir={run_dir}` has begun. "
            f"Received: epochs={config.epochs}"
        )


def refuse_lost_checkpoints(run_dir: StrPath) -> None:
    """Raises a ConfigError for a run without a checkpoint that has had some: to start anew would end its records.

    A run that was killed before its first checkpoint has the folder of checkpoints, and starts anew.
    """
    run_dir = Path(run_dir)
    lines = read_metrics(run_dir / METRICS_FILE)
    if (lines and not (run_dir / "checkpoints").exists()) or (run_dir / RESULT_FILE).exists():
        reached = f"metrics up to step {lines[-1]['step']}" if lines else f"a {RESULT_FILE}"
        raise ConfigError(
            f"`run_dir={run_dir}` holds {reached}, and its checkpoints are gone: put them back, or name another folder"
        )


def read_result(run_dir: StrPath) -> dict[str, Any] | None:
    """The `result.json` of a finished run, or None where there is none that can be used.

    Of one that is damaged it prints a line: the run, called again, writes it anew.
    """
    path = Path(run_dir) / RESULT_FILE
    try:
        return json_files.read(path, _RESULT, not_finite=True)
    except FileNotFoundError:
        return None
    except (InputError, OSError) as error:
        print(f"{error}; the run has no result until its command is called again")
        return None


def write_result(run_dir: StrPath, result: dict[str, Any]) -> None:
    durable.write_text(Path(run_dir) / RESULT_FILE, json.dumps(result, indent=2) + "\n")


@contextlib.contextmanager
def sole_trainer(run_dir: StrPath) -> Iterator[Path]:
    """Makes a run directory, refuses a second trainer in it for the scope, and yields its path."""
    run_dir = Path(run_dir)
    refusal = ConfigError(f"`run_dir={run_dir}` is in use by another training process")
    with contextlib.ExitStack() as stack:
        try:
            disk.make_folder(run_dir, parents=True)
            _refuse_links(run_dir)
            stack.enter_context(locks.held(run_dir / locks.LOCK_NAME, refusal))
        except OSError as error:
            raise ConfigError(f"`run_dir={run_dir}` cannot be written: {error}") from error
        yield run_dir
