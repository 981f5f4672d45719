"""Files that are written whole or not at all, even through a power failure or beside another writer.

What is being written has a temporary name, `.<name>.tmp`, and is locked. Whoever finds it locked takes the next of
`.<name>.1.tmp`, `.<name>.2.tmp`, ...: any number of processes and threads may write one path at the same time, each
writes all of its own, and the last to end has its place. What a killed process has left is not locked, and the next
writer of that path takes it over, emptied. Where the file system has no locks, a path must have one writer at a time.
"""

import contextlib
import errno
import fcntl
import itertools
import os
import shutil
from pathlib import Path


def sync_folder(folder):
    """Makes renames in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def durable_file(path):
    """Opens a temporary file that takes `path`'s place when the scope ends without an error."""
    path = Path(path)
    with _temporary(path, folder=False) as temporary:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    sync_folder(path.parent)


def write_text(path, text):
    """Replaces the file `path` by one that holds `text`."""
    with durable_file(path) as file:
        file.write(text.encode())


@contextlib.contextmanager
def durable_folder(path):
    """Makes a temporary folder that takes `path`'s place when the scope ends; its files must be durable themselves."""
    path = Path(path)
    with _temporary(path, folder=True) as temporary:
        yield temporary
        sync_folder(temporary)
        _take_place(temporary, path)
    sync_folder(path.parent)


@contextlib.contextmanager
def sole_maker(path, on_wait):
    """Lets one process or thread at a time make `path`: the others wait, and then find what the first has made.

    Where the file system has no locks, nobody waits.

    Args:
        path: What is made; its folder exists.
        on_wait: Called without arguments before a wait.
    """
    lock_path = Path(path).with_name(f".{Path(path).name}.lock")
    while True:
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o666)
        if not lock(descriptor, wait=False):
            on_wait()
            lock(descriptor, wait=True)
        if _leads_to(lock_path, descriptor):
            break
        # Its maker has ended and removed it.
        os.close(descriptor)
    try:
        yield
    finally:
        lock_path.unlink(missing_ok=True)
        os.close(descriptor)


@contextlib.contextmanager
def _temporary(path, folder):
    """An empty temporary file or folder of `path`, nobody else's for the time of the scope; removed after an error."""
    temporary, descriptor = _claim(path, folder)
    try:
        _remove_contents(temporary)
        yield temporary
    except BaseException:
        if _leads_to(temporary, descriptor):
            _remove(temporary)
        raise
    finally:
        os.close(descriptor)


def _claim(path, folder):
    """The first temporary name of `path` that nobody uses, and a descriptor that locks what is there."""
    for number in itertools.count():
        temporary = path.with_name(f".{path.name}.{number}.tmp" if number else f".{path.name}.tmp")
        with contextlib.suppress(FileExistsError):
            temporary.mkdir() if folder else temporary.touch(exist_ok=False)
        # Gone where its writer has just put it in its place. What is locked must be open for writing on some systems.
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(temporary, os.O_RDONLY if folder else os.O_RDWR)
            if lock(descriptor, wait=False) and _leads_to(temporary, descriptor):
                return temporary, descriptor
            os.close(descriptor)


def lock(descriptor, wait):
    """Locks an open file or folder against every other opening of it; returns whether no other holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        # No locks here: on some network's file systems not of folders, on others of nothing.
        return True
    return True


def _leads_to(path, descriptor):
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _take_place(temporary, path):
    """Renames a folder to `path`, where others may do the same."""
    while True:
        try:
            temporary.rename(path)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        # What is taken apart must not stand under the name, not even in part.
        with _temporary(path, folder=True) as aside:
            with contextlib.suppress(FileNotFoundError):
                path.rename(aside / path.name)
            _remove(aside)


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove_contents(path):
    """Empties what a killed process has left: a file is cut when it is opened."""
    for entry in path.iterdir() if path.is_dir() else ():
        _remove(entry)
