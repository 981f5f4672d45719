"""Copies of files of others: what is checked and what is used are the same bytes, whoever writes there in between."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from igan_tf.files import StrPath, disk


@contextlib.contextmanager
def private_copy(path: StrPath) -> Iterator[Path]:
    """Copies a file, or a folder with all files below it, to where nobody else writes; yields the copy of this name.

    Raises:
        UnusableFile: for a pipe or a device, also within the folder.
        OSError: where something cannot be read or copied; FileNotFoundError where there is nothing.
    """
    with tempfile.TemporaryDirectory(prefix="igan_tf-") as folder:
        copy = Path(folder, Path(os.path.abspath(path)).name or "copy")
        if not os.path.isdir(path):
            _copy_file(path, copy)
        else:
            disk.make_folder(copy)
            for entry in sorted(Path(path).rglob("*")):
                target = copy / entry.relative_to(path)
                disk.make_folder(target) if entry.is_dir() else _copy_file(entry, target)
        yield copy


def _copy_file(path: StrPath, copy: StrPath) -> None:
    with disk.open_file(path) as source, disk.open_file(copy, "wb") as target:
        shutil.copyfileobj(source, target, 2**20)
