"""Archives of arrays, `.npz`, that are read back: nothing is allocated that the file does not have the bytes for."""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from typing import BinaryIO

import numpy as np

from igan_tf.files import StrPath
from igan_tf.files.damage import UNREADABLE_ZIP
from igan_tf.files.json_files import DamagedFile

# Of numbers: neither objects, which are code, nor text.
_KINDS = "biuf"
# How much a compressed file may grow: a thousandfold is the most that deflate can do, of zeros.
_MOST_GROWTH = 1100
_BLOCK = 2**18


def read_arrays(file: BinaryIO, where: StrPath, text: Collection[str] = ()) -> dict[str, np.ndarray]:
    """The arrays of an open `.npz`, by name.

    Args:
        file: The archive.
        where: What it was read from, for the message.
        text: The arrays that hold text; all others hold numbers.

    Raises:
        DamagedFile: where it is no archive, or an array's header does not go with its bytes.
    """
    try:
        size = file.seek(0, 2)
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > size * _MOST_GROWTH:
                raise ValueError("its arrays are larger than its bytes can be")
            return {_name(member): _read(archive, member, text) for member in members}
    except UNREADABLE_ZIP as error:
        raise DamagedFile(f"{where} cannot be read: {error}") from error


def _name(member: zipfile.ZipInfo) -> str:
    return member.filename.removesuffix(".npy")


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, text: Collection[str]) -> np.ndarray:
    name = _name(member)
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_2_0 if version > (1, 0) else np.lib.format.read_array_header_1_0
        shape, by_columns, dtype = read_header(file)
        if dtype.kind not in ("U" if name in text else _KINDS):
            raise ValueError(f"{name} has type {dtype}")
        left = member.file_size - file.tell()
        if left != dtype.itemsize * int(np.prod(shape, dtype=object)):
            raise ValueError(f"{name} has {left} bytes, and shape {shape} of {dtype}")
        array = np.empty(shape[::-1] if by_columns else shape, dtype)
        content = array.reshape(-1).view("uint8").data
        # A block at a time: more would be twice the memory of ImageNet's state.
        for start in range(0, left, _BLOCK):
            block = file.read(min(_BLOCK, left - start))
            content[start : start + len(block)] = block
            if len(block) < min(_BLOCK, left - start):
                raise ValueError(f"{name} is cut")
        # The checksum is compared at the end of the bytes.
        file.read(1)
    return array.T if by_columns else array
