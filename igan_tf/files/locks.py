"""Locks on files and folders. The system frees them when their holder closes them or ends, however it ends.

Where the file system has no locks, every lock is granted.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from igan_tf.files import StrPath

# The usual name of a folder's lock file.
LOCK_NAME = ".lock"
_SECONDS_BETWEEN_TRIES = 0.05


def lock(descriptor: int, *, wait: bool, shared: bool = False) -> bool:
    """Locks an open file or folder against its other openings, in this process and in others.

    Args:
        descriptor: Of the opening; a file must be open for writing on some systems.
        wait: Whether to wait for others that hold it.
        shared: Whether others may hold it, shared, at the same time.

    Returns:
        Whether it is locked: False only without `wait`, where another holds it.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        # No locks: on some network file systems not of folders, on others of nothing.
        return True
    return True


@contextlib.contextmanager
def held(path: StrPath, refusal: Exception, *, shared: bool = False, patience: float = 0.0) -> Iterator[None]:
    """Holds a lock on a folder, or on a file that is made where it is missing, for the scope.

    Args:
        path: The file or folder.
        refusal: Raised where another holds the lock.
        shared: Whether others may hold it, shared, at the same time.
        patience: Seconds to wait for another before the refusal.

    Raises:
        OSError: where `path` cannot be opened, or is a link to no folder.
    """
    # A file is made by no link, which may lead anywhere; a folder may be one.
    flags = os.O_RDONLY if os.path.isdir(path) else os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o666)
    try:
        deadline = time.monotonic() + patience
        while not lock(descriptor, wait=False, shared=shared):
            if time.monotonic() >= deadline:
                raise refusal
            time.sleep(_SECONDS_BETWEEN_TRIES)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def sole_maker(path: StrPath, on_wait: Callable[[], None]) -> Iterator[None]:
    """Lets one process or thread at a time make `path`: the others wait, and then find what the first has made.

    Args:
        path: What is made; its folder exists.
        on_wait: Called before a wait.
    """
    lock_path = Path(path).with_name(f".{Path(path).name}.lock")
    while True:
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        if not lock(descriptor, wait=False):
            on_wait()
            lock(descriptor, wait=True)
        if leads_to(lock_path, descriptor):
            break
        # The maker before has removed it.
        os.close(descriptor)
    try:
        yield
    finally:
        lock_path.unlink(missing_ok=True)
        os.close(descriptor)


def leads_to(path: StrPath, descriptor: int) -> bool:
    """Whether what is open as `descriptor` still has the name `path`."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
