"""SHA-256 of files."""

import hashlib

from igan_tf.files import StrPath

_BLOCK = 2**20


def file_digest(path: StrPath) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
