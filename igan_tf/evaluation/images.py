"""Sets of images, read batch by batch and as often as wanted: none need fit into memory."""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from igan_tf.errors import EvaluationError, prefixed
from igan_tf.evaluation.classifiers.classifier import resize
from igan_tf.files.damage import UNREADABLE_ZIP
from igan_tf.images.decoding import UnreadableImage, to_rgb
from igan_tf.images.folders import IMAGE_SUFFIXES, image_files, npz_files, refuse_unfinished
from igan_tf.images.tfds import PreparedData

Item = TypeVar("Item")


class ImageSource:
    """A set of images in a fixed order.

    Attributes:
        count: The number of images.
        name: Where they come from, for the record.
        split: Which part of it.
        image_range: (black, white) of floating-point images; None for uint8.
    """

    def __init__(self, count: int, name: str, split: str = "", image_range: tuple[float, float] | None = None):
        self.count = count
        self.name = name
        self.split = split
        self.image_range = image_range

    def rows(self) -> Iterator[np.ndarray]:
        """Yields arrays `(n, height, width, channels)` of any n, in order, all of them."""
        raise NotImplementedError

    def batches(self, batch_size: int, indices: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """Yields arrays of `batch_size` images, the last one shorter.

        Args:
            batch_size: Images in an array.
            indices: Sorted positions of the images wanted; None: all.

        Raises:
            EvaluationError: for images of several sizes, or fewer images than there should be.
        """
        waiting: list[np.ndarray] = []
        position = given = 0
        wanted = np.arange(self.count) if indices is None else np.asarray(indices)
        for rows in self.rows():
            first, last = np.searchsorted(wanted, (position, position + len(rows)))
            chosen = rows[wanted[first:last] - position]
            position += len(rows)
            given += len(chosen)
            waiting.extend(chosen)
            while len(waiting) >= batch_size:
                yield self._stacked(waiting[:batch_size])
                waiting = waiting[batch_size:]
            if given == len(wanted):
                break
        if given != len(wanted):
            raise EvaluationError(f"{self.name} must hold {self.count} images. Received: {position}")
        if waiting:
            yield self._stacked(waiting)

    def _stacked(self, images: Sequence[np.ndarray]) -> np.ndarray:
        shapes = sorted({image.shape for image in images})
        if getattr(self, "_shape", None):
            shapes = sorted({self._shape, *shapes})
        if len(shapes) > 1:
            raise EvaluationError(
                f"the images of {self.name} must have one size; `square` takes the largest centre square of each in a "
                f"folder. Received: {' and '.join(map(str, shapes[:2]))}"
            )
        self._shape = shapes[0]
        return np.stack(images)


class ArraySource(ImageSource):
    """Images in memory: uint8, or floating point in `image_range`; (0, 1) for None."""

    def __init__(
        self,
        images: np.ndarray,
        name: str = "array",
        split: str = "",
        image_range: tuple[float, float] | None = None,
    ):
        if image_range is None and images.dtype != "uint8":
            image_range = (0.0, 1.0)
        super().__init__(len(images), name, split, image_range)
        self._images = images

    def rows(self) -> Iterator[np.ndarray]:
        for start in range(0, self.count, 256):
            yield self._images[start : start + 256]


class GeneratedSource(ImageSource):
    """Images from a function that yields the same batches each time it is called."""

    def __init__(
        self,
        generate_batches: Callable[[], Iterable[np.ndarray]],
        count: int,
        name: str,
        split: str = "",
        image_range: tuple[float, float] | None = (0.0, 1.0),
    ):
        super().__init__(count, name, split, image_range)
        self._generate_batches = generate_batches

    def rows(self) -> Iterator[np.ndarray]:
        yield from self._generate_batches()


class NoiseSource(ImageSource):
    """Uniform noise, uint8."""

    def __init__(self, count: int, shape: Sequence[int], seed: int):
        self._image_shape, self._seed = tuple(shape), seed
        super().__init__(count, f"uniform noise {'x'.join(map(str, self._image_shape))}", f"seed {seed}")

    def rows(self) -> Iterator[np.ndarray]:
        generator = np.random.default_rng(self._seed)
        for start in range(0, self.count, 64):
            yield generator.integers(0, 256, (min(64, self.count - start), *self._image_shape), dtype="uint8")


class FolderSource(ImageSource):
    """Image files below a folder, in the order of their paths.

    Args:
        root: The folder, searched recursively.
        channels: 3: all are made RGB; 1: grey.
        square: `(height, width)`: the largest centre square of each image, resized to it; None: images as they are.

    Raises:
        EvaluationError: for a folder without images; while reading, for a file that is damaged.
        DataError: for a folder of samples that is not finished.
    """

    def __init__(self, root: str | Path, channels: int = 3, square: Sequence[int] | None = None):
        refuse_unfinished(root)
        self._files = image_files(root)
        if not self._files:
            raise EvaluationError(
                f"`root` must hold images ({', '.join(sorted(IMAGE_SUFFIXES))}). Received: root={root}"
            )
        split = "all files" if square is None else "all files, largest centre squares"
        super().__init__(len(self._files), str(root), split, None if square is None else (0.0, 255.0))
        self._mode = "RGB" if channels == 3 else "L"
        self._square = square

    def rows(self) -> Iterator[np.ndarray]:
        for path in self._files:
            image = self._read(path)
            yield (image if self._square is None else np.asarray(resize(image.astype("float32"), self._square)))

    def _read(self, path: Path) -> np.ndarray:
        from PIL import Image, ImageOps

        try:
            with Image.open(path) as file:
                image = to_rgb(ImageOps.exif_transpose(file)).convert(self._mode)
        # Tags of damaged TIFFs raise TypeErrors.
        except (UnreadableImage, OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError) as error:
            raise EvaluationError(f"the image {path} cannot be read: {error}") from error
        if self._square is not None:
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            image = image.crop((left, top, left + side, top + side))
        pixels = np.asarray(image)
        return pixels.reshape(1, *pixels.shape[:2], len(image.getbands()))


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


class TfdsSource(ImageSource):
    """A split of a data set that TFDS has prepared, streamed; nothing is downloaded.

    Args:
        name: The data set's name in TFDS.
        split: In TFDS's notation: "test", "train[:1000]".
        data_dir: Folder of the prepared data; empty: TFDS's own.

    Raises:
        DataError: for a data set that is not there or has no images, or a split that it has not or that is empty; while
            reading, for one that is damaged.
    """

    def __init__(self, name: str, split: str, data_dir: str | Path = ""):
        with prefixed(f"tfds:{name}:{split}"):
            self._data = PreparedData(name, data_dir)
            count = self._data.count_images(split)
        super().__init__(count, f"tfds:{self._data.full_name}", split)

    def rows(self) -> Iterator[np.ndarray]:
        for image in self._data.images(self.split):
            yield image[None]


def chosen_indices(count: int, num_samples: int, seed: int | None) -> np.ndarray:
    """Which images are scored: all, or `num_samples` drawn by `seed`, sorted.

    Raises:
        EvaluationError: for more than there are.
    """
    if not num_samples or num_samples == count:
        return np.arange(count)
    if num_samples > count:
        raise EvaluationError(
            f"`num_samples` must be at most the number of images, {count}. Received: num_samples={num_samples}"
        )
    return np.sort(np.random.default_rng([seed or 0, 1]).choice(count, num_samples, replace=False))


def prefetched(items: Iterable[Item], depth: int = 2) -> Iterator[Item]:
    """Yields the items of an iterable that a thread of its own draws, `depth` ahead."""
    ready: queue.Queue = queue.Queue(depth)
    stopped = threading.Event()

    def put(entry: Any) -> None:
        while not stopped.is_set():
            try:
                ready.put(entry, timeout=0.1)
                return
            except queue.Full:
                continue

    def draw() -> None:
        try:
            for item in items:
                put((item, None))
                if stopped.is_set():
                    return
            put((None, StopIteration()))
        except BaseException as error:
            put((None, error))

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        stopped.set()
        thread.join()
