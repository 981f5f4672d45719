"""A disk that is full, for TensorFlow's event writer and SQLite too, which write by themselves.

Two kinds in turn: no file may grow beyond a limit, and a file system of a few kilobytes, which only root may mount.
"""

import contextlib
import io
import os
import resource
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import tensorflow as tf

from igan_tf.errors import InputError
from igan_tf.training import Checkpoints
from tests.soak import Soak
from tests.soak.fault_points import SCENARIOS, in_folder, undisturbed


@contextlib.contextmanager
def _files_of_at_most(num_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def _disk_of(kilobytes: int, place: Path) -> Iterator[None]:
    """In this scope `place` is a file system of its own; it is small until the scope's body calls for `_enlarge`."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "igan_tf", place], check=True)
    # The folder of before lies beneath the one that is mounted.
    os.chdir(place)
    try:
        yield
    finally:
        os.chdir("/")
        subprocess.run(["umount", place], check=True)


def _enlarge(place: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", place], check=True)


def _run(numbers: Iterable[int], folder: Path) -> Iterator[tuple[int, str]]:
    for number in numbers:
        name, mounts = "study" if number % 5 == 0 else "train", number % 2 == 1
        if mounts and os.geteuid() != 0:
            yield number, "not tried: only root may mount"
            continue
        scenario, expected = SCENARIOS[name], undisturbed(name)
        with contextlib.ExitStack() as stack, contextlib.redirect_stdout(io.StringIO()):
            place = stack.enter_context(in_folder())
            if mounts:
                stack.enter_context(_disk_of(4 * (1 + number // 2), place))
            outcome = "done"
            try:
                with contextlib.nullcontext() if mounts else _files_of_at_most(40 + 137 * (number // 2)):
                    scenario.work(place)
            except (InputError, OSError, tf.errors.OpError):
                outcome = "refused"
            if mounts:
                _enlarge(place)
            if name == "train" and (acknowledged := _acknowledged(place)):
                reached = Checkpoints(place / "run" / "checkpoints").load_newest()
                assert reached is not None and reached.position["step"] >= acknowledged
            scenario.work(place)
            assert scenario.content(place) == expected
        yield number, f"{name}, {'a small disk' if mounts else 'small files'}: {outcome}"


def _acknowledged(place: Path) -> int:
    """The last step that was said to be saved; 0 where its note found no room either."""
    note = place / "acknowledged"
    return int(note.read_text() or 0) if note.exists() else 0


SOAK = Soak(
    about="A training or the making of a study finds the disk full, or meets a limit on the size of files, in whatever "
    "writes first; what was acknowledged is there, and the same work again ends as without the limit.",
    count=200,
    quick=4,
    run=_run,
)
