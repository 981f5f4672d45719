"""SIGKILL in the midst of saving checkpoints and lines of metrics, of processes that do nothing else."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from igan_tf.files import disk, json_files
from igan_tf.files.json_lines import as_line, read_lines
from igan_tf.training.checkpoints import Checkpoints
from tests.soak import Soak

_LINE = json_files.record({"step": json_files.WHOLE}, others=json_files.NUMBER)


def _arrays(step: int) -> dict[str, np.ndarray]:
    return {"a": np.full(20_000, step, "float32"), "b": np.arange(step, step + 500)}


def _save_for_ever(folder: Path, first: int, sender: Connection) -> None:
    checkpoints = Checkpoints(folder / "checkpoints")
    for step in range(first, 10**6):
        with disk.open_file(folder / "metrics.jsonl", "ab") as file:
            file.write(as_line({"step": step, "loss": 1 / step}).encode())
            file.flush()
            disk.fsync(file.fileno())
        checkpoints.save(step, _arrays(step), {"step": step})
        sender.send(step)


def _last(receiver: Connection) -> int:
    """The last step that was acknowledged; it waits for none."""
    step = 0
    while receiver.poll():
        try:
            step = receiver.recv()
        except EOFError:
            break
    return step


def _run(numbers: Iterable[int], folder: Path) -> Iterator[tuple[int, str]]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    for number in numbers:
        generator = random.Random(number)
        place = folder / str(number)
        place.mkdir()
        acknowledged = 0
        # The second process begins among what the first has left.
        for _ in range(2):
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_save_for_ever, args=(place, acknowledged + 1, sender))
            process.start()
            sender.close()
            before = receiver.recv()
            time.sleep(generator.uniform(0, 0.03))
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            acknowledged = max(before, _last(receiver))
            warnings: list[str] = []
            saved = Checkpoints(place / "checkpoints", warn=warnings.append).load_newest()
            assert saved is not None and not warnings, warnings
            step = saved.position["step"]
            # The one that was being written may have been finished, and its acknowledgement not.
            assert acknowledged <= step <= acknowledged + 1, (acknowledged, step)
            for name, array in _arrays(step).items():
                np.testing.assert_array_equal(saved.arrays[name], array)
            lines = [line["step"] for line in read_lines(place / "metrics.jsonl", _LINE)]
            assert lines[-1] >= acknowledged and lines == sorted(lines)
            acknowledged = step
            # As a run does that continues.
            kept = "".join(as_line({"step": line, "loss": 1 / line}) for line in lines if line <= step)
            (place / "metrics.jsonl").write_text(kept)
        yield number, "whole"


SOAK = Soak(
    about="A process that saves checkpoints and lines of metrics is killed, then one that continues: the newest "
    "checkpoint is whole and none that was acknowledged is missing, as none of the lines.",
    count=100,
    run=_run,
)
