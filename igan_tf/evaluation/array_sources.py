"""Sets of images in .npy and .npz files, read piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from igan_tf.errors import DataError, EvaluationError
from igan_tf.evaluation.images import ImageSource
from igan_tf.evaluation.statistics import is_statistics_file
from igan_tf.files import StrPath
from igan_tf.images.array_files import ArrayFile, array_files, array_names, image_key
from igan_tf.images.arrays import holds_range

# Ranges that floats commonly have, narrow ones first.
_RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))


class ArrayFileSource(ImageSource):
    """The images of an .npy or .npz, read piece by piece, compressed or not.

    Args:
        path: The file.
        key: The array's name in an .npz; empty: as `likely_keys` says.
        image_range: (black, white) of floating-point images.
        channels_first: Whether arrays `(N, channels, height, width)` are taken.
        likely_keys: Names to look for where `key` is empty, before those of `image_key`.

    Raises:
        DataError: for a file or an array that is damaged or no set of images.
        EvaluationError: for floats out of their range; while reading, where they are not among the first.
    """

    def __init__(
        self,
        path: StrPath,
        key: str = "",
        image_range: tuple[float, float] | None = None,
        channels_first: bool = False,
        likely_keys: Sequence[str] = (),
    ):
        found = key or image_key(path, likely_keys)
        if found is None:
            names = array_names(path)
            if is_statistics_file(path):
                raise DataError(f"{path} holds statistics, for `reference`, and no images. Received: {names}")
            raise DataError(f"`key` must be one of {', '.join(names)}, the arrays in {path}. Received: key=")
        self._file = ArrayFile(path, found, channels_first)
        self.channels_first = self._file.channels_first
        if self.channels_first and not channels_first:
            raise DataError(
                f"{self._file.name} has its channels first, (N, channels, height, width): `channels_first` takes "
                f"it so. Received: channels_first=False and shape {self._file.stored_shape}"
            )
        split = ", ".join(filter(None, [found, "channels first" if self.channels_first else ""]))
        floats = self._file.dtype != "uint8"
        super().__init__(self._file.shape[0], str(path), split, (image_range or (0.0, 1.0)) if floats else None)
        # A wrong range shows before anything else is loaded.
        next(self.rows())

    def rows(self) -> Iterator[np.ndarray]:
        for images in self._file.rows():
            if self.image_range and not holds_range(self.image_range, images.min(), images.max()):
                self._refuse_range(self.image_range)
            yield images

    def _refuse_range(self, declared: tuple[float, float]) -> None:
        """Raises an error that names the range of all images, which `declared` does not hold."""
        found = np.array([(images.min(), images.max()) for images in self._file.rows()])
        if not np.isfinite(found).all():
            raise EvaluationError(f"{self._file.name} must be finite. Received: NaN or infinity among the pixels")
        low, high = found.min(), found.max()
        common = next((f"{ends[0]:g},{ends[1]:g}" for ends in _RANGES if holds_range(ends, low, high)), "")
        raise EvaluationError(
            f"{self._file.name} has values from {low:g} to {high:g}, and `image_range` must be those of black and "
            f"white{f', such as `image_range={common}`' if common else ''}. "
            f"Received: image_range={declared[0]:g},{declared[1]:g}"
        )


class ArrayFolderSource(ImageSource):
    """The .npy and .npz files of a folder without images, in the order of their names.

    Args:
        root: The folder.
        key, image_range, channels_first, likely_keys: As of `ArrayFileSource`.

    Raises:
        EvaluationError, DataError: as `ArrayFileSource` does.
        DataError: for files of bytes beside files of floats, and for a folder of samples that is not finished.
    """

    def __init__(
        self,
        root: StrPath,
        key: str = "",
        image_range: tuple[float, float] | None = None,
        channels_first: bool = False,
        likely_keys: Sequence[str] = (),
    ):
        self._files = [
            ArrayFileSource(path, key, image_range, channels_first, likely_keys) for path in array_files(root)
        ]
        if not self._files:
            raise DataError(f"`root` must hold arrays. Received: root={root}")
        if len({source.image_range for source in self._files}) > 1:
            raise DataError(f"{root}: some of its arrays hold bytes, others floats")
        self.channels_first = any(source.channels_first for source in self._files)
        count = sum(source.count for source in self._files)
        super().__init__(count, str(root), self._files[0].split, self._files[0].image_range)

    def rows(self) -> Iterator[np.ndarray]:
        for source in self._files:
            yield from source.rows()
