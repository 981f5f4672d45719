"""SHA-256 of files."""

import hashlib
from typing import BinaryIO

from igan_tf.files import StrPath, disk

_BLOCK = 2**20


def file_digest(path: StrPath) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    with disk.open_file(path) as file:
        return open_file_digest(file)


def open_file_digest(file: BinaryIO) -> str:
    """The SHA-256 of a file from where it is read on, which is then at its end."""
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()
