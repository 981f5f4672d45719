"""Files and folders that are written whole or not at all, even through a power failure or beside another writer.

A writer fills a temporary name, `.<name>.tmp`, that it locks; a writer that finds it locked takes the next of
`.<name>.1.tmp`, `.<name>.2.tmp`, ... So any number of processes and threads may write one path at the same time: each
writes all of its own, and the last to end has its place. What a killed process left is not locked; the next writer of
that path empties it and takes it over. Where the file system has no locks, a path must have one writer at a time.
"""

import contextlib
import errno
import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from igan_tf.files import StrPath, disk, locks


def sync_folder(folder: StrPath) -> None:
    """Makes renames in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        disk.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def durable_file(path: StrPath) -> Iterator[BinaryIO]:
    """Opens a temporary file that takes `path`'s place when the scope ends without an error."""
    path = Path(path)
    with _temporary(path, folder=False) as temporary:
        with disk.open_file(temporary, "wb") as file:
            yield file
            file.flush()
            disk.fsync(file.fileno())
        disk.rename(temporary, path)
    sync_folder(path.parent)


def write_text(path: StrPath, text: str) -> None:
    """Replaces the file `path` by one that holds `text` in UTF-8."""
    with durable_file(path) as file:
        file.write(text.encode())


@contextlib.contextmanager
def durable_folder(path: StrPath) -> Iterator[Path]:
    """Makes a temporary folder that takes `path`'s place when the scope ends without an error.

    The files that the scope puts into it must be durable themselves.
    """
    path = Path(path)
    with _temporary(path, folder=True) as temporary:
        yield temporary
        sync_folder(temporary)
        _take_place(temporary, path)
    sync_folder(path.parent)


def remove_folder(path: StrPath) -> None:
    """Removes a folder that nobody sees in part: it has another name before the first of its files goes."""
    path = Path(path)
    with _temporary(path, folder=True) as aside:
        disk.rename(path, aside / path.name)
        disk.remove(aside)


@contextlib.contextmanager
def _temporary(path: Path, folder: bool) -> Iterator[Path]:
    """Yields an empty temporary file or folder of `path`, locked for the scope; removes it after an error."""
    temporary, descriptor = _claim(path, folder)
    try:
        _remove_contents(temporary)
        yield temporary
    except BaseException:
        if locks.leads_to(temporary, descriptor):
            disk.remove(temporary, ignore_errors=True)
        raise
    finally:
        os.close(descriptor)


# Of opening a temporary name: its writer has just put it in its place; it is a link, or of another kind.
_NOT_OURS = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO)


@contextlib.contextmanager
def _passing_over(*codes: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in codes:
            raise


def _claim(path: Path, folder: bool) -> tuple[Path, int]:
    """Makes, or takes over, the first temporary name of `path` that is not locked; returns it and what locks it."""
    numbers = itertools.count()
    while True:
        number = next(numbers)
        temporary = path.with_name(f".{path.name}.{number}.tmp" if number else f".{path.name}.tmp")
        with contextlib.suppress(FileExistsError):
            disk.make_new_folder(temporary) if folder else temporary.touch(exist_ok=False)
        with _passing_over(*_NOT_OURS):
            # Neither a link, which may lead anywhere, nor a pipe, which nobody may read.
            kind = os.O_RDONLY | os.O_DIRECTORY if folder else os.O_RDWR
            descriptor = os.open(temporary, kind | os.O_NOFOLLOW | os.O_NONBLOCK)
            if not folder and not stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.close(descriptor)
                continue
            if locks.lock(descriptor, wait=False) and locks.leads_to(temporary, descriptor):
                return temporary, descriptor
            os.close(descriptor)


def _take_place(temporary: Path, path: Path) -> None:
    """Renames a folder to `path`, where others may do the same."""
    while True:
        try:
            disk.rename(temporary, path)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        with _passing_over(*_NOT_OURS):
            before = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                # Else another writer would take the temporary name, under which it is removed, over.
                locks.lock(before, wait=True)
                if not locks.leads_to(path, before):
                    continue
                # At once: a death between two renames would leave neither.
                if disk.exchange(temporary, path):
                    sync_folder(path.parent)
                    disk.remove(temporary, ignore_errors=True)
                    return
                remove_folder(path)
            finally:
                os.close(before)


def _remove_contents(path: Path) -> None:
    """Empties a folder that a killed process has left; a file is cut when it is opened."""
    for entry in path.iterdir() if path.is_dir() else ():
        disk.remove(entry, ignore_errors=True)
