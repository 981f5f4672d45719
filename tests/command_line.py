"""Runs of `python -m igan_tf.main` on the digits, in a process of their own or in this one, and what they leave."""

import json
import os
import sys
from pathlib import Path

import tensorflow as tf

import igan_tf.main
from igan_tf.training import Checkpoints
from igan_tf.training.run_log import read_metrics
from tests import processes

REPOSITORY = Path(__file__).parent.parent
FLAGS = ["--dataset=digits", "--labels=50", "--batch_size=400", "--initialization_examples=50"]


def command(*arguments):
    return [sys.executable, "-m", "igan_tf.main", *map(str, arguments)]


def environment():
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def run_process(*arguments, cwd):
    """Runs the command to its end, in the folder `cwd`."""
    return processes.run("igan_tf.main", arguments, cwd)


class Outcome:
    """The exit code and everything printed."""

    def __init__(self, code, text):
        self.code, self.text = code, text


def run_here(capfd, *arguments):
    """Runs the command in this process."""
    return outcome_of(arguments, lambda: "".join(capfd.readouterr()))


def outcome_of(arguments, printed):
    """The `Outcome` of the command in this process; `printed()` is what it has printed."""
    try:
        igan_tf.main.run(list(map(str, arguments)))
        code = 0
    except SystemExit as error:
        code = error.code
    # `sys.exit` of a message prints it and exits with 1.
    return Outcome(1, f"{printed()}{code}\n") if isinstance(code, str) else Outcome(code or 0, printed())


def events(run_dir):
    """Sorted (step, tag) of every event in the run's TensorBoard files."""
    found = []
    for path in Path(run_dir).glob("events.out.tfevents.*"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            found += [(event.step, value.tag) for value in event.summary.value]
    return sorted(found)


def metrics(run_dir):
    """The lines of `metrics.jsonl` without the time that they took."""
    lines = read_metrics(Path(run_dir) / "metrics.jsonl")
    for line in lines:
        assert "epoch" not in line or line.pop("seconds_per_step", 1) > 0
    return lines


def result(run_dir):
    return json.loads((Path(run_dir) / "result.json").read_text())


def assert_same_run(run_dir, other):
    """Both ended with the same bits, metrics and result, and no TensorBoard step stands twice in the first."""
    checkpoints, others = (Checkpoints(Path(folder) / "checkpoints") for folder in (run_dir, other))
    assert checkpoints.steps()[-1] == others.steps()[-1]
    (arrays, position, _), (other_arrays, other_position, _) = checkpoints.load_newest(), others.load_newest()
    assert position == other_position and set(arrays) == set(other_arrays)
    different = [name for name, array in arrays.items() if array.tobytes() != other_arrays[name].tobytes()]
    assert different == []
    assert metrics(run_dir) == metrics(other)
    assert result(run_dir) == result(other)
    found = events(run_dir)
    assert len(found) == len(set(found))
    # HParams' own tag holds no step of the training; an epoch of which no step was left has no time.
    assert {tag for _, tag in set(found) ^ set(events(other))} <= {"time/seconds_per_step"}
    for folder in ("samples",):
        names = sorted(path.name for path in (Path(run_dir) / folder).iterdir())
        assert names == sorted(path.name for path in (Path(other) / folder).iterdir())
        assert all(
            (Path(run_dir) / folder / name).read_bytes() == (Path(other) / folder / name).read_bytes() for name in names
        )
