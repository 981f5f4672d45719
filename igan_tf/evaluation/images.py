"""Sets of images, read batch by batch and as often as wanted: none need fit into memory."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from igan_tf.errors import EvaluationError, prefixed
from igan_tf.evaluation.classifiers.classifier import resize
from igan_tf.images.decoding import UnreadableImage, to_rgb
from igan_tf.images.folders import IMAGE_SUFFIXES, image_files, refuse_unfinished
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
        # Of the images seen so far.
        self._shapes: set[tuple[int, ...]] = set()

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
        self._shapes |= {image.shape for image in images}
        if len(self._shapes) > 1:
            raise EvaluationError(
                f"the images of {self.name} must have one size; `square` takes the largest centre square of each in a "
                f"folder. Received: {' and '.join(map(str, sorted(self._shapes)[:2]))}"
            )
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
