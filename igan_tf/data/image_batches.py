"""Batches of images with their classes, in an order that is a function of (seed, epoch), from any step on."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from igan_tf.data.batches import pipeline_options, worker_rows
from igan_tf.data.image_data import ImageData
from igan_tf.devices import has_gpu
from igan_tf.images.arrays import as_unit_range
from igan_tf.images.reading import available_processors
from igan_tf.records.reader import ImageRecords

# Streams of the order's random numbers.
_ORDER, _FLIPS = range(2)
_PARALLEL_READS = 4
# Batches decoded at once, at most; fewer on fewer cores.
_PARALLEL_DECODED = 16
_PREFETCHED_BATCHES = 4
# Cores that are left to what launches a GPU's kernels, where images are read beside it.
_LAUNCHING_THREADS = 2


class ImageBatches:
    """Shuffled batches of images and labels for training, one pass over all of them an epoch.

    The last, incomplete batch of an epoch is left out. With several workers, a batch's rows are divided among them in
    order: the workers' parts, put together, are the batch of one worker. A subclass reads the images.

    Args:
        data: The images, as the subclass takes them.
        batch_size: Images in a batch, over all workers and replicas.
        seed: Of order and flips.
        flip: Whether to mirror each image left to right with probability 1/2, anew each epoch.
        as_float: Whether images are float32 in [0, 1], or as they are stored.
        worker: This worker's number, from 0.
        num_workers: How many workers read parts of the same batches.

    Attributes:
        count: How many images there are.
        steps_per_epoch: Batches in an epoch.

    Raises:
        DataError: for a batch larger than the data or not divisible among the workers, and for no such worker.
    """

    def __init__(
        self,
        data: Any,
        batch_size: int,
        seed: int,
        flip: bool = False,
        as_float: bool = True,
        worker: int = 0,
        num_workers: int = 1,
    ):
        self.count = self._open(data)
        self._rows = worker_rows(self.count, batch_size, worker, num_workers)
        self.batch_size = batch_size
        self.seed = seed
        self.flip = flip
        self.as_float = as_float
        self.steps_per_epoch = self.count // batch_size

    @property
    def num_labelled(self) -> int:
        """How many images have a label."""
        return self.count

    def order(self, epoch: int) -> np.ndarray:
        """Draws the indices of one epoch's images for all workers, `(steps_per_epoch, batch_size)`."""
        order = self._generator(epoch, _ORDER).permutation(self.count)
        return order[: self.steps_per_epoch * self.batch_size].reshape(self.steps_per_epoch, self.batch_size)

    def flipped(self, epoch: int) -> np.ndarray:
        """Draws which images are mirrored in an epoch: bool by index."""
        if not self.flip:
            return np.zeros(self.count, bool)
        return self._generator(epoch, _FLIPS).random(self.count) < 0.5

    def epoch(self, epoch: int, start_step: int = 0) -> tf.data.Dataset:
        """This worker's part of the batches of one epoch from `start_step` on.

        Returns:
            Dicts of `images`, `(rows, size, size, 3)`, and `labels`, `(rows,)`, int64. `tf.distribute` does not shard
            it: each of several workers makes its own.
        """
        indices = self.order(epoch)[start_step:, self._rows]
        rows = {"indices": indices, "flipped": self.flipped(epoch)[indices]}
        options = pipeline_options()
        if has_gpu():
            # Threads of their own, so that those which launch the GPU's kernels find a core.
            options.threading.private_threadpool_size = max(1, available_processors() - _LAUNCHING_THREADS)
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        return (
            tf.data.Dataset.from_tensor_slices(rows)
            .map(self._read, num_parallel_calls=_PARALLEL_READS)
            .map(self._batch, num_parallel_calls=min(available_processors(), _PARALLEL_DECODED))
            .prefetch(_PREFETCHED_BATCHES)
            .with_options(options)
        )

    def take(self, indices: np.ndarray) -> tf.Tensor:
        """Images by their indices, not mirrored, in the form of the batches' images."""
        images, _ = self._decode(self._look_up(indices))
        return self._in_range(images)

    def _generator(self, epoch: int, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, stream])

    def _open(self, data: Any) -> int:
        """Keeps the images; returns how many there are."""
        raise NotImplementedError

    def _look_up(self, indices: Any) -> Any:
        """What is to be decoded of some images."""
        return indices

    def _read(self, rows: dict[str, tf.Tensor]) -> tuple[Any, tf.Tensor]:
        """As `_look_up`, of the rows of a batch in a graph, and which of them are mirrored."""
        return rows["indices"], rows["flipped"]

    def _decode(self, found: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Images and labels of what was looked up."""
        raise NotImplementedError

    def _in_range(self, images: tf.Tensor) -> tf.Tensor:
        return as_unit_range(images) if self.as_float else images

    def _batch(self, found: Any, flipped: tf.Tensor) -> dict[str, tf.Tensor]:
        images, labels = self._decode(found)
        if self.flip:
            images = tf.where(flipped[:, None, None, None], tf.reverse(images, [2]), images)
        return {"images": self._in_range(images), "labels": labels}


class RecordBatches(ImageBatches):
    """Batches of sharded records, read and decoded while they are needed.

    Args:
        data: The `ImageRecords`.
        batch_size, seed, flip, as_float, worker, num_workers: See `ImageBatches`.
    """

    def _open(self, data: ImageRecords) -> int:
        self.records = data
        return len(data)

    def _look_up(self, indices: np.ndarray) -> tf.Tensor:
        return tf.constant(self.records.read(indices), tf.string)

    def _read(self, rows: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        serialized = tf.numpy_function(self._read_rows, [rows["indices"]], tf.string, stateful=False)
        serialized.set_shape(rows["indices"].shape)
        return serialized, rows["flipped"]

    def _read_rows(self, indices: np.ndarray) -> np.ndarray:
        return np.array(self.records.read(indices), object)

    def _decode(self, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = self.records.decode(found)
        return tf.ensure_shape(images, [*found.shape, *self.records.image_shape]), labels


class ArrayBatches(ImageBatches):
    """Batches of images in memory.

    Args:
        data: The `ImageData`, whose training images are taken.
        batch_size, seed, flip, as_float, worker, num_workers: See `ImageBatches`.
    """

    def _open(self, data: ImageData) -> int:
        with tf.device("CPU"):
            self._images, self._labels = tf.constant(data.train_images), tf.constant(data.train_labels)
        return len(data.train_images)

    @property
    def num_labelled(self) -> int:
        return int(tf.reduce_sum(tf.cast(self._labels >= 0, tf.int64)))

    def _decode(self, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.gather(self._images, found), tf.gather(self._labels, found)
