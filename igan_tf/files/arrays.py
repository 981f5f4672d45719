"""Arrays that are read back from .npz files: of the names, types and shapes that are expected, or any of numbers.

Nothing is allocated for what a header promises, before it is known that the file holds it.
"""

from __future__ import annotations

import dataclasses
import math
import os
import tokenize
import zipfile
from collections.abc import Callable, Mapping
from typing import IO, BinaryIO, NamedTuple

import numpy as np

from igan_tf.files import StrPath, disk
from igan_tf.files.damage import UNREADABLE_ZIP
from igan_tf.files.json_files import DamagedFile

# What an archive may be unpacked to: so many times its size, which arrays of numbers never are, or so many bytes.
_MOST_TIMES, _MOST_BYTES = 16, 2**26
_BLOCK = 2**18


class Header(NamedTuple):
    """What an .npy says of its array."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype


@dataclasses.dataclass(frozen=True)
class Array:
    """What an array must be.

    Attributes:
        dtypes: The types that it may have.
        shape: Its shape; None for a length that is not known.
    """

    dtypes: tuple[str, ...]
    shape: tuple[int | None, ...]

    def fits(self, header: Header) -> bool:
        """Whether an array may have a header."""
        return header.dtype.name in self.dtypes and (
            len(header.shape) == len(self.shape)
            and all(ours in (None, theirs) for ours, theirs in zip(self.shape, header.shape))
        )


def read_header(file: IO[bytes]) -> Header:
    """Reads the beginning of an .npy.

    Raises:
        ValueError: and others of `UNREADABLE_ZIP` for what is none.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        return Header(*read(file))
    # NumPy has Python parse a header that it does not understand.
    except (SyntaxError, tokenize.TokenError, MemoryError) as error:
        raise ValueError(f"the header of an array cannot be understood: {error}") from error


def check_unpacked(archive: zipfile.ZipFile, size: int) -> None:
    """Raises a ValueError where a zip file of `size` bytes says that it holds far more than that."""
    if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in archive.infolist()):
        raise ValueError("it is compressed in a way that NumPy never uses")
    unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > max(_MOST_TIMES * size, _MOST_BYTES):
        raise ValueError(f"its {size} bytes are packed from {unpacked}")


def read_arrays(
    path: StrPath, required: Mapping[str, Array], optional: Mapping[str, Array] = {}, others: bool = False
) -> dict[str, np.ndarray]:
    """Reads an .npz.

    Args:
        path: The file.
        required: What must be in it, by name.
        optional: What may be in it.
        others: Whether more may be in it, which is not read.

    Raises:
        DamagedFile, UnusableFile: where it holds anything else; the message names the file and the array.
        OSError: where it cannot be read; FileNotFoundError where there is none.
    """
    expected = {**required, **optional}
    try:
        with disk.open_file(path) as file, zipfile.ZipFile(file) as archive:
            check_unpacked(archive, os.fstat(file.fileno()).st_size)
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            if len(set(names)) < len(names) or not set(required) <= set(names):
                raise ValueError(f"it must hold the arrays {sorted(required)}, each once, not {sorted(names)}")
            if not others and (more := sorted(set(names) - set(expected))):
                raise ValueError(f"nobody knows the array {more[0]} in it")
            return {name: _read(archive, name, expected[name].fits) for name in names if name in expected}
    except disk.UnusableFile:
        raise
    except UNREADABLE_ZIP as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DamagedFile(f"{path} is damaged: {error}") from error


def read_numbers(file: BinaryIO, where: StrPath) -> dict[str, np.ndarray]:
    """Every array of an open .npz, by name: numbers, of whatever names and shapes.

    Args:
        file: The archive, which may have been read to its end.
        where: What it was read from, for the message.

    Raises:
        DamagedFile: where it is no archive, or an array is none of numbers or has not the bytes of its shape.
    """
    try:
        size = file.seek(0, os.SEEK_END)
        with zipfile.ZipFile(file) as archive:
            check_unpacked(archive, size)
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            return {name: _read(archive, name, lambda header: header.dtype.kind in "biuf") for name in names}
    except UNREADABLE_ZIP as error:
        raise DamagedFile(f"{where} is damaged: {error}") from error


def _read(archive: zipfile.ZipFile, name: str, fits: Callable[[Header], bool]) -> np.ndarray:
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as file:
        header = read_header(file)
        shape, by_columns, dtype = header
        if not fits(header):
            raise ValueError(f"the array {name} has the shape {shape} and the type {dtype}")
        left = member.file_size - file.tell()
        if math.prod(shape) * dtype.itemsize != left:
            raise ValueError(f"the array {name} does not have the bytes of its shape {shape}")
        array = np.empty(shape[::-1] if by_columns else shape, dtype)
        content = array.reshape(-1).view("uint8")
        # A block at a time: the bytes in one piece would be twice the memory of ImageNet's state.
        for start in range(0, left, _BLOCK):
            block = file.read(min(_BLOCK, left - start))
            content[start : start + len(block)] = np.frombuffer(block, "uint8")
        # Its checksum is compared at the end.
        if file.read(1) or file.tell() != member.file_size:
            raise ValueError(f"the array {name} is cut")
    return array.T if by_columns else array
