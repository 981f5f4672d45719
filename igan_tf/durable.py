"""Files that are written whole or not at all, even through a power failure or beside another writer.

What is being written has a temporary name of its own, `.<name>.<16 hexadecimal digits>.tmp`: any number of processes
and threads may write one path at the same time, each writes all of its own, and the last to end has its place. A killed
process leaves its temporary file, which the next to write the same path removes: whoever still writes holds a lock on
it, and a lock ends with its process. Where the file system has no locks, what is left over stays.
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
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
def whole_file(path):
    """Opens a temporary file that takes `path`'s place when the scope ends without an error.

    A killed process leaves no half of it; a power failure may. It does not wait for the disk.
    """
    path = Path(path)
    _remove_left_overs(path)
    temporary, descriptor = _make_locked(path, Path.touch)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            # Still locked: nobody takes it for left over.
            file.flush()
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def durable_file(path):
    """As `whole_file`, and the file outlasts a power failure once the scope has ended."""
    with whole_file(path) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    sync_folder(Path(path).parent)


def write_text(path, text):
    """Replaces the file `path` by one that holds `text`."""
    with durable_file(path) as file:
        file.write(text.encode())


@contextlib.contextmanager
def durable_folder(path):
    """Makes a temporary folder that takes `path`'s place when the scope ends; its files must be durable themselves."""
    path = Path(path)
    _remove_left_overs(path)
    temporary, descriptor = _make_locked(path, Path.mkdir)
    try:
        yield temporary
        os.fsync(descriptor)
        _take_place(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        os.close(descriptor)
    sync_folder(path.parent)


@contextlib.contextmanager
def sole_maker(path, on_wait):
    """Lets one process or thread at a time make `path`: the others wait, and then find what the first has made.

    Where the file system has no locks, nobody waits.

    Args:
        path: What is made; its folder exists.
        on_wait: Called without arguments before a wait.
    """
    lock = Path(path).with_name(f".{Path(path).name}.lock")
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        if not _lock(descriptor, wait=False):
            on_wait()
            _lock(descriptor, wait=True)
        if _leads_to(lock, descriptor):
            break
        # Its maker has ended and removed it.
        os.close(descriptor)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _temporary_name(path):
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


def _make_locked(path, make):
    """Makes the temporary file or folder of `path`: (its path, a descriptor that locks it)."""
    while True:
        temporary = _temporary_name(path)
        make(temporary)
        # Until it is locked, another writer may take it for left over and remove it.
        with contextlib.suppress(FileNotFoundError):
            descriptor = _open(temporary)
            _lock(descriptor, wait=True)
            if _leads_to(temporary, descriptor):
                return temporary, descriptor
            os.close(descriptor)


def _remove_left_overs(path):
    """Removes temporary files and folders of `path` that nobody writes any longer."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}\.tmp")
    for left in [path.with_name(entry) for entry in os.listdir(path.parent) if name.fullmatch(entry)]:
        # Another may remove it at the same time, or it may be another user's.
        with contextlib.suppress(OSError):
            descriptor = _open(left)
            try:
                if _lock(descriptor, wait=False):
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
            finally:
                os.close(descriptor)


def _open(path):
    # A network's file system locks only those files that are open for writing.
    return os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)


def _lock(descriptor, wait):
    """Locks an open file or folder against every other opening of it; returns whether it is locked now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        # Another has it, or there are no locks here.
        return False
    return True


def _leads_to(path, descriptor):
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _take_place(temporary, path):
    """Renames a folder to `path`, where others may do the same."""
    replaced = []
    while True:
        try:
            temporary.rename(path)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        # Out of the way whole: what is taken apart must not stand under the name.
        replaced.append(_temporary_name(path))
        with contextlib.suppress(FileNotFoundError):
            path.rename(replaced[-1])
    for folder in replaced:
        shutil.rmtree(folder, ignore_errors=True)
