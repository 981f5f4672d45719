"""One converter at a time in a folder, and none beside what is left of one that was killed."""

import contextlib
import fcntl
import time

from igan_tf.errors import DataError

LOCK_NAME = ".lock"
# The processes of a converter that was killed need a moment to notice.
_SECONDS_FOR_THE_DYING = 5
_SECONDS_BETWEEN_TRIES = 0.05


def lock(path, shared):
    """Opens the file `path` and locks it without waiting, shared or exclusively; closing it ends the lock.

    Raises:
        BlockingIOError: where another process holds it.
    """
    file = open(path, "a+b")  # noqa: SIM115
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BaseException:
        file.close()
        raise
    return file


@contextlib.contextmanager
def sole_converter(output_dir, processes_lock):
    """Holds `output_dir` against other converters.

    Args:
        output_dir: The folder.
        processes_lock: The file that each process of a converter locks, shared, for as long as it lives.

    Raises:
        DataError: where another converter, or a process of one, goes on working there.
    """
    deadline = time.monotonic() + _SECONDS_FOR_THE_DYING
    while True:
        try:
            held = lock(output_dir / LOCK_NAME, shared=False)
            break
        except BlockingIOError:
            _wait(deadline, output_dir)
    with held:
        while processes_lock.exists():
            try:
                lock(processes_lock, shared=False).close()
                break
            except BlockingIOError:
                _wait(deadline, output_dir)
        yield


def _wait(deadline, output_dir):
    if time.monotonic() > deadline:
        raise DataError(f"--output_dir={output_dir} is in use by another converter") from None
    time.sleep(_SECONDS_BETWEEN_TRIES)
