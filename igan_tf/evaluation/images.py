"""Sets of images, read batch by batch and as often as wanted: none need fit into memory."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from igan_tf.errors import DataError, EvaluationError, counted, prefixed
from igan_tf.evaluation.classifiers.classifier import resize
from igan_tf.images.decoding import window
from igan_tf.images.folders import in_words
from igan_tf.images.settings import DecodingSettings
from igan_tf.images.tfds import PreparedData

Item = TypeVar("Item")


class ImageSource:
    """A set of images in a fixed order.

    Attributes:
        count: The number of images.
        name: Where they come from, for the record.
        split: Which part of it.
        image_range: (black, white) of floating-point images; None for uint8.
        unreadable: Of the images read so far, why those that were left out cannot be read, by position.
        left_out: What else was found where they come from: a count by what it is.
        fitting: How images get another aspect ratio: see `fit`.
    """

    def __init__(self, count: int, name: str, split: str = "", image_range: tuple[float, float] | None = None):
        self.count = count
        self.name = name
        self.split = split
        self.image_range = image_range
        self.unreadable: dict[int, str] = {}
        self.left_out: Mapping[str, int] = {}
        self._size: tuple[int, int] | None = None
        self._resizes = True
        self.fitting = DecodingSettings()
        # Of the images seen so far.
        self._shapes: set[tuple[int, ...]] = set()

    def rows(self) -> Iterator[np.ndarray]:
        """Yields arrays `(n, height, width, channels)` of any n, in order, all of them."""
        raise NotImplementedError

    def in_words(self) -> str:
        """What will be read, or was, in one line."""
        faults = len(self.unreadable)
        images = f"{self.name}: {counted(self.count - faults, 'image')}"
        return "; ".join(filter(None, [images, in_words(self.left_out, faults)]))

    def record(self) -> dict[str, Any]:
        """What a record of scores says of the images."""
        about: dict[str, Any] = {"image_range": list(self.image_range or (0, 255)), "images": self.in_words()}
        if self._size:
            about["fit"] = self.fitting.fit_in_words
        return {**about, "unreadable": list(self.unreadable.values())} if self.unreadable else about

    def fit(self, size: Sequence[int], resizes: bool = True) -> None:
        """Gives every image the aspect ratio of `size`, as `fitting` says; those of several sizes are brought to it.

        Images of one size keep it: what resizes those is the classifier, by the same function.

        Args:
            size: `(height, width)`.
            resizes: Whether images of several sizes are resized; otherwise a batch ends where the size changes.
        """
        height, width = size
        self._size, self._resizes = (height, width), resizes
        # Bytes that are resized become floats from 0 to 255.
        self.image_range = self.image_range or (0.0, 255.0)

    def chosen(self, wanted: np.ndarray) -> Iterator[np.ndarray]:
        """Yields arrays `(n, height, width, channels)` of any n, in order: the images at sorted positions.

        Raises:
            EvaluationError: for fewer images than there should be.
        """
        position = given = 0
        for rows in self.rows():
            first, last = np.searchsorted(wanted, (position, position + len(rows)))
            yield rows[wanted[first:last] - position]
            position += len(rows)
            given += last - first
            if given == len(wanted):
                return
        raise EvaluationError(f"{self.name} must hold {counted(self.count, 'image')}. Received: {position}")

    def batches(self, batch_size: int, indices: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """Yields arrays of `batch_size` images, the last one shorter, and others where `fit` says so.

        Args:
            batch_size: Images in an array.
            indices: Sorted positions of the images wanted; None: all.

        Raises:
            EvaluationError: for images of several sizes where none was given, or fewer images than there should be.
        """
        waiting: list[np.ndarray] = []
        for rows in self.chosen(np.arange(self.count) if indices is None else np.asarray(indices)):
            waiting.extend(self._shaped(rows))
            while len(waiting) >= batch_size:
                yield from self._stacked(waiting[:batch_size])
                waiting = waiting[batch_size:]
        if waiting:
            yield from self._stacked(waiting)

    def _shaped(self, images: np.ndarray) -> np.ndarray:
        """Images cut or padded to the aspect ratio wanted."""
        if self._size is None or not len(images):
            return images
        top, left, height, width = window(images.shape[1:3], self._size, self.fitting.fit)
        if height * width > max(self.fitting.max_megapixels * 1e6, images.shape[1] * images.shape[2]):
            raise EvaluationError(
                f"`fit=pad` would make {height}x{width} pixels of an image of {images.shape[1]}x{images.shape[2]} in "
                f"{self.name}. Received: fit=pad max_megapixels={self.fitting.max_megapixels:g}"
            )
        if top < 0 or left < 0:
            black, white = self.image_range or (0, 255)
            below, right = height - images.shape[1] + top, width - images.shape[2] + left
            space = ((0, 0), (-top, below), (-left, right), (0, 0))
            level = _levels(self.fitting.background_rgb, images.shape[-1]) / 255 * (white - black) + black
            padded = np.stack(
                [np.pad(images[..., c], space[:3], constant_values=level[c]) for c in range(images.shape[-1])], -1
            )
            return padded.astype(images.dtype)
        return images[:, top : top + height, left : left + width]

    def _stacked(self, images: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        shapes = {image.shape for image in images}
        self._shapes |= shapes
        channels = {shape[-1] for shape in self._shapes}
        if len(self._shapes) > 1 and (self._size is None or len(channels) > 1):
            must = "be all grey or all in colour"
            if len(channels) == 1:
                must = "have one size: this classifier takes images as they are"
            raise EvaluationError(
                f"the images of {self.name} must {must}. Received: {' and '.join(map(str, sorted(self._shapes)[:2]))}"
            )
        if len(shapes) == 1:
            yield np.stack(images)
        elif self._resizes and (size := self._size):
            yield np.concatenate([np.asarray(resize(image[None].astype("float32"), size)) for image in images])
        else:
            for _, group in itertools.groupby(images, lambda image: image.shape):
                yield np.stack(list(group))


def _levels(colour: Sequence[int], channels: int) -> np.ndarray:
    """A colour's levels, whole numbers from 0 to 255, in images of so many channels."""
    if channels == 1:
        # Luma of ITU-R BT.601, as Pillow has it.
        return np.array([round(np.dot(colour, (299, 587, 114)) / 1000)])
    return np.array(colour)


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


class TfdsSource(ImageSource):
    """A split of a data set that TFDS has prepared, streamed; nothing is downloaded.

    Args:
        name: The data set's name in TFDS.
        split: In TFDS's notation: "test", "train[:1000]".
        data_dir: Folder of the prepared data; empty: TFDS's own.

    Raises:
        DataError: for a data set that is not there or has no images of bytes, or a split that it has not or that is
            empty; while reading, for one that is damaged.
    """

    def __init__(self, name: str, split: str, data_dir: str | Path = ""):
        with prefixed(f"tfds:{name}:{split}"):
            self._data = PreparedData(name, data_dir)
            count = self._data.count_images(split)
            # Of other pixels nothing says which are black and white.
            if (dtype := np.dtype(self._data.features["image"].np_dtype)) != "uint8":
                raise DataError(f"its images must be uint8. Received: {dtype}")
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
