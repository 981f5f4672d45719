"""Run directories whose checksums and digests are right, and whose contents somebody has made up."""

import json
import random
import resource
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from igan_tf.files.digests import file_digest
from igan_tf.files.json_lines import as_line
from igan_tf.training.checkpoints import Checkpoints
from igan_tf.training.run_log import read_metrics
from tests.soak import Soak
from tests.soak.small_run import copy_of_run, use

# What a value of any place may become.
_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 10**12, 10**30, 0.5, -1e308, "", "../../outside", "/etc/passwd", "x" * 10**5),
    *([], [[]], {}, {"a": {"b": []}}, ["../x"], float("nan"), float("inf")),
)


def _forge_value(content: Any, generator: random.Random) -> Any:
    """A copy in which one value, at any depth, is another, is missing or has company."""
    if isinstance(content, dict) and content and generator.random() < 0.8:
        content, name = dict(content), generator.choice(list(content))
        if generator.random() < 0.15:
            del content[name]
        else:
            content[name] = _forge_value(content[name], generator)
        return content
    if isinstance(content, list) and content and generator.random() < 0.5:
        content, at = list(content), generator.randrange(len(content))
        content[at] = _forge_value(content[at], generator)
        return content
    return generator.choice(_VALUES)


def _write_state(run_dir: Path, step: int, arrays: dict[str, Any], position: Any) -> None:
    path = Checkpoints(run_dir / "checkpoints").path(step) / "state.npz"
    with open(path, "wb") as file:
        np.savez(file, position=np.frombuffer(json.dumps(position).encode(), "uint8"), **arrays)
    path.with_suffix(".sha256").write_text(f"{file_digest(path)}  state.npz\n")


def _position(run_dir: Path, generator: random.Random) -> None:
    saved = Checkpoints(run_dir / "checkpoints").load_newest()
    assert saved is not None
    for step in Checkpoints(run_dir / "checkpoints").steps():
        _write_state(run_dir, step, saved.arrays, _forge_value(saved.position, generator))


def _arrays(run_dir: Path, generator: random.Random) -> None:
    saved = Checkpoints(run_dir / "checkpoints").load_newest()
    assert saved is not None
    arrays = dict(saved.arrays)
    name = generator.choice(sorted(arrays))
    forged = (
        np.full_like(arrays[name], np.nan) if arrays[name].dtype.kind == "f" else -arrays[name],
        arrays[name].astype("float16"),
        np.zeros((10**7,), "uint8"),
        np.array(["text"]),
        arrays[name][None],
    )
    arrays[name] = generator.choice(forged)
    for step in Checkpoints(run_dir / "checkpoints").steps():
        _write_state(run_dir, step, arrays, {**saved.position, "step": step})


def _exchanged_steps(run_dir: Path, generator: random.Random) -> None:
    first, second = (Checkpoints(run_dir / "checkpoints").path(step) for step in (2, 4))
    first.rename(run_dir / "aside")
    second.rename(first)
    (run_dir / "aside").rename(second)


def _metrics(run_dir: Path, generator: random.Random) -> None:
    lines = [_forge_value(line, generator) for line in read_metrics(run_dir / "metrics.jsonl")]
    usable = [line for line in lines if isinstance(line, dict) and line]
    (run_dir / "metrics.jsonl").write_text("".join(map(as_line, usable)))


def _result(run_dir: Path, generator: random.Random) -> None:
    content = json.loads((run_dir / "result.json").read_text())
    (run_dir / "result.json").write_text(json.dumps(_forge_value(content, generator)))


def _settings(run_dir: Path, generator: random.Random) -> None:
    path = run_dir / "flags.cfg"
    lines = path.read_text().splitlines()
    at = generator.randrange(1, len(lines))
    name = lines[at].partition("=")[0]
    lines[at] = generator.choice(
        (
            f"{name}={generator.choice(_VALUES)}",
            "--flagfile=/etc/passwd",
            "--undefok=anything",
            f"--{'n' * 10**5}",
            "--network_width=16",
            "/etc/passwd",
        )
    )
    path.write_text("\n".join(lines) + "\n")


def _enormous_networks(run_dir: Path, generator: random.Random) -> None:
    saved = Checkpoints(run_dir / "checkpoints").load_newest()
    assert saved is not None
    side = generator.choice((1024, 4096, 16_384))
    identity = {**saved.position["identity"], "image_shape": [side, side, 3], "--network_width": 16.0}
    for step in Checkpoints(run_dir / "checkpoints").steps():
        _write_state(run_dir, step, saved.arrays, {**saved.position, "step": step, "identity": identity})
    with open(run_dir / "flags.cfg", "a") as file:
        file.write("--network_width=16\n")


def _stray(run_dir: Path, generator: random.Random) -> None:
    name = generator.choice(("step-1", "step-0000000004", "step-999999999", "step-" + "9" * 30, ".step-000000009.tmp"))
    (run_dir / "checkpoints" / name).mkdir()


_FORGERIES: tuple[Callable[[Path, random.Random], None], ...] = (
    *(_position, _arrays, _metrics, _result, _settings, _position, _exchanged_steps, _settings, _stray),
    _enormous_networks,
)


def _run(numbers: Iterable[int], folder: Path) -> Iterator[tuple[int, str]]:
    copy_of_run(folder / "first")
    for number in numbers:
        generator = random.Random(number)
        run_dir = copy_of_run(folder / f"run-{number}")
        forgery = _FORGERIES[number % len(_FORGERIES)]
        forgery(run_dir, generator)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        action, status, text = use(run_dir, number // len(_FORGERIES))
        what = f"{forgery.__name__[1:]}, {action}: {text[:2000]}"
        assert "root:" not in text, what
        assert status in (0, 1), what
        # In KiB: what a step of training takes besides.
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20, what
        outside = {path.name for path in folder.iterdir()} - {"first", run_dir.name, "samples.png"}
        assert not outside, f"{outside} {what}"
        shutil.rmtree(run_dir)
        yield number, f"{action}: {'refused' if status else 'done'}"


SOAK = Soak(
    about="A run directory with right digests and made-up contents (positions, arrays, metrics, results, settings, "
    "exchanged and stray steps) is called again, tested or sampled: one sentence or an end as of a run, nothing "
    "outside of the folder, no memory that the file's own bytes do not ask for.",
    count=100,
    run=_run,
)
