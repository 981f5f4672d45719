"""The calls by which this package reads and writes files of its own: one place, at which tests let each of them fail.

TensorFlow's event files and SQLite's databases are written by these libraries themselves.
"""

from __future__ import annotations

import ctypes
import errno
import io
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from igan_tf.files import StrPath

# Files of settings, results and plans.
SMALL = 2**20
_BLOCK = 2**16


class UnusableFile(OSError):
    """A file is no regular file, or larger than it can be; the message names it."""


# From Linux's fcntl.h and fs.h.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


class _File(io.FileIO):
    """A file whose reads and writes pass through `_call`."""

    def write(self, data: Any) -> int:
        return _call(super().write, data)

    def readinto(self, buffer: Any) -> int:
        return _call(super().readinto, buffer)

    def readall(self) -> bytes:
        return _call(super().readall)


def open_file(path: StrPath, mode: str = "rb", follow: bool = True) -> BinaryIO:
    """Opens a file as `open` does. Nothing is written through a link.

    Args:
        path: The file.
        mode: One of "rb", "wb" and "ab".
        follow: Whether what is read may be a symbolic link.

    Raises:
        UnusableFile: where a pipe, a device or a folder is to be read, which might never end; for a link that is not
            followed.
        OSError: where it cannot be opened; FileNotFoundError where there is none to read.
    """
    if mode != "rb":
        return cast(BinaryIO, io.BufferedWriter(_call(_File, os.fspath(path), mode, True, _open_no_link)))
    # Without waiting for somebody to open the other end of a pipe.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = _call(os.open, path, flags)
    except OSError as error:
        if error.errno != errno.ELOOP or follow:
            raise
        raise UnusableFile(f"{path} is a symbolic link") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnusableFile(f"{path} is no regular file")
    return cast(BinaryIO, io.BufferedReader(_File(descriptor, "rb")))


def takes_file(path: StrPath) -> bool:
    """Whether a file can be written, or replaced, under a name: its folder is there and can be written."""
    folder = Path(path).absolute().parent
    return folder.is_dir() and os.access(folder, os.W_OK) and not os.path.isdir(path)


def read_at(descriptor: int, count: int, offset: int) -> bytes:
    """At most `count` bytes of an open file from `offset` on: as many as there are."""
    return _call(os.pread, descriptor, count, offset)


def read_small(path: StrPath, most_bytes: int = SMALL) -> bytes:
    """The contents of a file.

    Raises:
        UnusableFile: where it has more than `most_bytes`, and as `open_file`.
        OSError: as `open_file`.
    """
    content = bytearray()
    with open_file(path) as file:
        # In blocks: `read` would allocate all that it is allowed to.
        while len(content) <= most_bytes and (block := file.read(_BLOCK)):
            content += block
    if len(content) > most_bytes:
        raise UnusableFile(f"{path} has more than {most_bytes} bytes")
    return bytes(content)


def fsync(descriptor: int) -> None:
    """Waits until an open file or folder is on the disk."""
    _call(os.fsync, descriptor)


def sync() -> None:
    """Waits until everything that was written is on the disk."""
    _call(os.sync)


def exchange(path: StrPath, other: StrPath) -> bool:
    """Exchanges the names of two files or folders at once; False where the system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    names = os.fsencode(path), os.fsencode(other)
    return _call(libc.renameat2, _AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0


def rename(path: StrPath, new: StrPath) -> None:
    """Gives a file or folder another name; a file takes the place of another."""
    _call(os.replace, path, new)


def make_new_folder(path: StrPath) -> None:
    """Makes a folder; FileExistsError where anything has its name."""
    _call(os.mkdir, path)


def make_folder(path: StrPath, parents: bool = False) -> None:
    """Makes a folder where there is none; with `parents`, those that it lies in, too."""
    path = Path(path)
    if not path.is_dir():
        if parents and not path.parent.is_dir():
            make_folder(path.parent, parents=True)
        try:
            _call(os.mkdir, path)
        except FileExistsError:
            if not path.is_dir():
                raise


def remove(path: StrPath, ignore_errors: bool = False) -> None:
    """Removes a file, or a folder with all that is in it; what is not there is removed already."""
    try:
        if os.path.isdir(path) and not os.path.islink(path):
            _call(shutil.rmtree, path)
        else:
            _call(os.unlink, path)
    except FileNotFoundError:
        pass
    except OSError:
        if not ignore_errors:
            raise
