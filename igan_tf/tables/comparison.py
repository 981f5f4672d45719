"""Runs beside each other: the settings in which they differ, how far they are, their errors and scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from igan_tf.errors import ConfigError
from igan_tf.evaluation.protocol import scored_by
from igan_tf.experiments.configs import RunConfig
from igan_tf.experiments.run_directory import holds_weights_alone, read_config, read_result
from igan_tf.files import StrPath, durable
from igan_tf.metrics.registry import curve_names
from igan_tf.tables.report import as_csv
from igan_tf.training.run_log import METRICS_FILE, read_metrics

_ERRORS = ("test_error", "averaged_test_error", "supervised_test_error", "supervised_averaged_test_error")
_LOSSES = ("discriminator_loss", "generator_loss")


@dataclasses.dataclass(frozen=True)
class ComparedRun:
    """What one run directory has.

    Attributes:
        name: What it is called in tables and figures.
        config: Its settings.
        epochs: The lines of `metrics.jsonl` that end epochs.
        result: Its `result.json`; empty where it has not been finished.
        scored_by: The classifier of its scores; empty where it has none.
    """

    name: str
    config: RunConfig
    epochs: Sequence[Mapping[str, Any]]
    result: Mapping[str, Any]
    scored_by: str

    def latest(self, name: str) -> float | None:
        """The last value of an error, a score or a loss, or None."""
        values = [line[name] for line in self.epochs if name in line]
        return values[-1] if values else self.result.get(name)


def read_runs(words: Sequence[str]) -> list[ComparedRun]:
    """The runs in folders, also unfinished ones; a run of several label draws counts as one for each draw.

    Args:
        words: Run directories, or NAME=RUN_DIR.

    Raises:
        InputError: for a folder that holds no run, or weights alone, and for a run that is damaged.
    """
    found: list[ComparedRun] = []
    for word in words:
        name, equals, folder = word.partition("=")
        if Path(word).exists() or not equals:
            name = folder = word
        draws = sorted(path.parent for path in Path(folder).glob(f"draw-*/{METRICS_FILE}"))
        found += [_read(f"{name}/{path.name}", path) for path in draws] if draws else [_read(name, folder)]
    return found


def _read(name: str, run_dir: StrPath) -> ComparedRun:
    config = read_config(run_dir)
    if holds_weights_alone(run_dir):
        raise ConfigError(f"`run_dir={run_dir}` has weights alone, and no figures of its training")
    lines = [line for line in read_metrics(Path(run_dir) / METRICS_FILE) if "epoch" in line]
    return ComparedRun(name, config, lines, read_result(run_dir) or {}, scored_by(run_dir))


def compare(runs: Sequence[ComparedRun]) -> list[dict[str, Any]]:
    """A row for each run, all with the same columns; "" stands for what a run does not have.

    The columns: the run's name; each setting that is not the same for all, and the classifier of scores where they have
    several; epochs that are done, of how many; the last test errors and scores that any of them has, or losses where
    none has either.
    """
    settings = [_settings(run.config) for run in runs]
    if len({run.scored_by for run in runs} - {""}) > 1:
        # Such scores cannot be held against each other.
        settings = [one | {"scored_by": run.scored_by} for one, run in zip(settings, runs)]
    names = dict.fromkeys(name for one in settings for name in one)
    differing = [name for name in names if len({str(one.get(name, "")) for one in settings}) > 1]
    figures = [name for name in (*_ERRORS, *curve_names()) if any(run.latest(name) is not None for run in runs)]
    rows = []
    for run, one in zip(runs, settings):
        done = run.epochs[-1]["epoch"] if run.epochs else 0
        values = {name: run.latest(name) for name in figures or _LOSSES}
        rows.append(
            {
                "run": run.name,
                **{name: one.get(name, "") for name in differing},
                "epochs": f"{done}/{run.config.epochs}",
                **{name: "" if value is None else value for name, value in values.items()},
            }
        )
    return rows


def _settings(config: RunConfig) -> dict[str, Any]:
    return {name.removeprefix("--"): value for name, value in config.fixed().items()}


def in_columns(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as text: names to the left, figures of four digits to the right."""
    table = [list(rows[0]), *([_shown(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table)]
    lines = []
    for line in table:
        figures = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
        lines.append("  ".join([line[0].ljust(widths[0]), *figures]))
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_csv(path: StrPath, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows as CSV, figures with all their digits."""
    durable.write_text(path, as_csv(rows))


def curve_of(runs: Sequence[ComparedRun], name: str = "") -> str:
    """The name of the curve to draw: `name`, or the first of errors, scores and losses that every run has.

    Raises:
        ConfigError: where a run does not have it.
    """
    common = set.intersection(*(set().union(*run.epochs) for run in runs))
    known = [one for one in ("averaged_test_error", *curve_names(), *_LOSSES) if one in common]
    if name in common or (not name and known):
        return name or known[0]
    raise ConfigError(
        f"`curve` must be in the {METRICS_FILE} of every run, as {', '.join(sorted(common)) or 'nothing'} is. "
        f"Received: curve={name}"
    )


def write_figure(path: StrPath, runs: Sequence[ComparedRun], name: str, log_scale: bool = False) -> None:
    """Draws one curve over the epochs, a line a run; the ending of `path` decides the format."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    percent = 100 if name.endswith("error") else 1
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for run in runs:
        points = [(line["epoch"], line[name] * percent) for line in run.epochs if name in line]
        axes.plot(*zip(*points), label=run.name, marker="." if len(points) == 1 else "")
    if log_scale:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel(name.replace("_", " ") + (", %" if percent > 1 else ""))
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    with durable.durable_file(path) as file:
        figure.savefig(file, format=Path(path).suffix[1:], dpi=100)
