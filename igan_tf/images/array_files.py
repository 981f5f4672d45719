"""Reads arrays of images from .npy and .npz files, piece by piece."""

from __future__ import annotations

import contextlib
import math
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from igan_tf.errors import DataError
from igan_tf.files import StrPath
from igan_tf.files.arrays import Header, read_header
from igan_tf.files.damage import UNREADABLE_ZIP
from igan_tf.images.folders import image_files, is_hidden

SUFFIXES = (".npy", ".npz")
# Names that say which array of several holds the images: this package's, and NumPy's for arrays that got none.
IMAGE_KEYS = ("images", "arr_0")
_OF_THREE_AXES = "; grey ones, 1 or 3 of them or as many pixels wide, (N, height, width, 1)"
# Images in a piece.
_ROWS = 64


def array_files(folder: StrPath) -> list[Path]:
    """The .npy and .npz files in a folder without image files, sorted; hidden ones are left out."""
    named = (path for path in Path(folder).iterdir() if path.suffix.lower() in SUFFIXES and not is_hidden(path.name))
    found = sorted(path for path in named if path.is_file())
    return [] if found and image_files(folder) else found


def array_names(path: StrPath) -> list[str]:
    """The names of the arrays in an .npz; empty for an .npy, whatever the file is called.

    Raises:
        DataError: for a file that is neither.
    """
    try:
        with open(path, "rb") as file:
            if file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX:
                return []
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except UNREADABLE_ZIP as error:
        raise DataError(f"{path} cannot be read as an .npy or .npz: {error}") from error


def image_key(path: StrPath, likely: Sequence[str] = ()) -> str | None:
    """Which array of a file holds its images: the only one, or the first there is of `likely` and `IMAGE_KEYS`.

    Returns:
        Its name, empty for an .npy, or None where nothing tells.

    Raises:
        DataError: for a file that is no .npy or .npz.
    """
    names = array_names(path)
    if len(names) < 2:
        return "".join(names)
    return next((name for name in (*likely, *IMAGE_KEYS) if name in names), None)


class ArrayFile:
    """An array of images in an .npy or .npz, compressed or not, of which a piece at a time is in memory.

    Which axis holds the channels, its length says, 1 or 3. Where both ends of an image's shape could, as in
    (N, 3, height, 3), they are last unless `channels_first` says otherwise. An array (N, height, width) is grey.

    Args:
        path: The file.
        key: The array's name in an .npz; empty for an .npy.
        channels_first: Whether an array whose channels could be first or last has them first.

    Attributes:
        shape: Of the images as `rows` yields them, `(N, height, width, channels)`.
        stored_shape: Of the array in the file.
        dtype: uint8, or floating point.
        channels_first: Whether they are first in the file.

    Raises:
        DataError: for a file or an array that is damaged or no set of images.
    """

    def __init__(self, path: StrPath, key: str = "", channels_first: bool = False):
        self._path, self._key = path, key
        names = array_names(path)
        if key and not names:
            raise DataError(f"`key` is for an .npz; {path} is an .npy, which has one array. Received: key={key}")
        if names and key not in names:
            raise DataError(f"`key` must be one of {', '.join(names)} in {path}. Received: key={key}")
        self.name = f"{path}: the array {key}".rstrip() if key else f"{path}: its array"
        try:
            with self._opened() as (_, (shape, fortran, dtype), size):
                pass
        except UNREADABLE_ZIP as error:
            raise DataError(f"{self.name} cannot be read: {error}") from error
        self.stored_shape, self.dtype = shape, dtype
        first, last = (len(shape) == 4 and shape[axis] in (1, 3) for axis in (1, 3))
        # With channels at one end that would be one image.
        grey = len(shape) == 3 and shape[0] not in (1, 3) and shape[2] not in (1, 3)
        # TensorFlow has no floats of more than 64 bits.
        pixels = dtype == "uint8" or (dtype.kind == "f" and dtype.itemsize <= 8)
        if not (first or last or grey) or 0 in shape or fortran or not pixels:
            raise DataError(
                f"{self.name} must be images, (N, height, width) or (N, height, width, 1 or 3 channels), in C order, "
                f"uint8, or floating point of at most 64 bits{_OF_THREE_AXES if len(shape) == 3 else ''}. "
                f"Received: shape {shape}, dtype {dtype}"
                f"{', Fortran order' if fortran else ''}"
            )
        # Under a damaged header that promises fewer images, the checksum behind the others would not be read.
        if size != math.prod(shape) * dtype.itemsize:
            raise DataError(
                f"{self.name} is damaged: its header says shape {shape} and dtype {dtype}, but it holds {size} bytes"
            )
        self.channels_first = first and (channels_first or not last)
        self.shape = (*shape[:1], *shape[2:], shape[1]) if self.channels_first else (*shape, 1) if grey else shape

    def rows(self) -> Iterator[np.ndarray]:
        """Yields arrays `(n, height, width, channels)`, in order, all of them.

        Raises:
            DataError: for damage.
        """
        try:
            with self._opened() as (file, (shape, _, dtype), _):
                bytes_per_image = math.prod(shape[1:]) * dtype.itemsize
                for start in range(0, shape[0], _ROWS):
                    count = min(_ROWS, shape[0] - start)
                    piece = np.frombuffer(file.read(count * bytes_per_image), dtype).reshape(count, *shape[1:])
                    yield np.moveaxis(piece, 1, -1) if self.channels_first else piece.reshape(count, *self.shape[1:])
        except UNREADABLE_ZIP as error:
            raise DataError(f"{self.name} is damaged: {error}") from error

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[IO[bytes], Header, int]]:
        """The array as an open file positioned behind its header, the header, and how many bytes follow."""
        with contextlib.ExitStack() as stack:
            file: IO[bytes]
            if self._key:
                archive = stack.enter_context(zipfile.ZipFile(self._path))
                file = stack.enter_context(archive.open(f"{self._key}.npy"))
                size = archive.getinfo(f"{self._key}.npy").file_size
            else:
                file = stack.enter_context(open(self._path, "rb"))
                size = os.fstat(file.fileno()).st_size
            yield file, read_header(file), size - file.tell()
