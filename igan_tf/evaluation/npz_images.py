"""Sets of images in .npz files, read piece by piece."""

from __future__ import annotations

import contextlib
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from igan_tf.errors import EvaluationError
from igan_tf.evaluation.images import ImageSource
from igan_tf.files.damage import UNREADABLE_ZIP
from igan_tf.images.folders import npz_files, refuse_unfinished


class NpzSource(ImageSource):
    """The array of an .npz, read piece by piece, compressed or not.

    Args:
        path: The file.
        key: The array's name; empty: the only one, or "images".
        image_range: (black, white) of floating-point images.

    Raises:
        EvaluationError: for a file or an array that is no set of images.
    """

    def __init__(self, path: str | Path, key: str = "", image_range: tuple[float, float] | None = None):
        self._path = path
        try:
            with zipfile.ZipFile(path) as file:
                names = [name.removesuffix(".npy") for name in file.namelist()]
        except UNREADABLE_ZIP as error:
            raise EvaluationError(f"`path={path}` cannot be read: {error}") from error
        self._key = key or (names[0] if len(names) == 1 else "images")
        if self._key not in names:
            raise EvaluationError(f"`key` must be one of {', '.join(names)} in {path}. Received: key={key}")
        try:
            with self._opened() as (_, (shape, fortran, dtype), size):
                pass
        except UNREADABLE_ZIP as error:
            raise EvaluationError(f"`path={path}`: the array {self._key} cannot be read: {error}") from error
        # TensorFlow has no floats of more than 64 bits.
        pixels = dtype == "uint8" or (dtype.kind == "f" and dtype.itemsize <= 8)
        if len(shape) != 4 or 0 in shape or fortran or not pixels:
            raise EvaluationError(
                f"`path={path}`: the array {self._key} must be images (N, height, width, channels), in C order, uint8, "
                f"or floating point of at most 64 bits. Received: shape {shape}, dtype {dtype}"
            )
        # Under a damaged header that promises fewer images, the checksum behind the others would not be read.
        if size != math.prod(shape) * dtype.itemsize:
            raise EvaluationError(
                f"`path={path}`: the array {self._key} is damaged: its header says shape {shape} and dtype {dtype}, "
                f"but it holds {size} bytes"
            )
        super().__init__(shape[0], str(path), self._key, None if dtype == "uint8" else image_range or (0.0, 1.0))

    def rows(self) -> Iterator[np.ndarray]:
        try:
            with self._opened() as (file, (shape, _, dtype), _):
                bytes_per_image = math.prod(shape[1:]) * dtype.itemsize
                for start in range(0, shape[0], 64):
                    count = min(64, shape[0] - start)
                    yield np.frombuffer(file.read(count * bytes_per_image), dtype).reshape(count, *shape[1:])
        except UNREADABLE_ZIP as error:
            raise EvaluationError(f"`path={self._path}`: the array {self._key} is damaged: {error}") from error

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[Any, tuple, int]]:
        """The array as an open file positioned behind its header, the header, and how many bytes follow."""
        with zipfile.ZipFile(self._path) as archive, archive.open(f"{self._key}.npy") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            header = read(file)
            yield file, header, archive.getinfo(f"{self._key}.npy").file_size - file.tell()


class NpzFolderSource(ImageSource):
    """The .npz files of a folder without images, in the order of their names, each read as by `NpzSource`.

    Args:
        root: The folder.
        key, image_range: As `NpzSource`'s.

    Raises:
        EvaluationError: as `NpzSource` does, and for files of bytes beside files of floats.
        DataError: for a folder of samples that is not finished.
    """

    def __init__(self, root: str | Path, key: str = "", image_range: tuple[float, float] | None = None):
        refuse_unfinished(root)
        self._files = [NpzSource(path, key, image_range) for path in npz_files(root)]
        if len({source.image_range for source in self._files}) > 1:
            raise EvaluationError(f"`root={root}`: some of its .npz files hold bytes, others floats")
        count = sum(source.count for source in self._files)
        super().__init__(count, str(root), self._files[0].split, self._files[0].image_range)

    def rows(self) -> Iterator[np.ndarray]:
        for source in self._files:
            yield from source.rows()
