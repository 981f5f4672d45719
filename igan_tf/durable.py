"""Files that are written whole or not at all, even through a power failure."""

import contextlib
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
def whole_file(path):
    """Opens a temporary file that takes `path`'s place when the scope ends without an error.

    A killed process leaves no half of it; a power failure may. It does not wait for the disk.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
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
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        sync_folder(temporary)
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(path.parent)
