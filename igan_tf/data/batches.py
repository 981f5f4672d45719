"""Training batches in an order that is a function of (seed, epoch, step)."""

import numpy as np
import tensorflow as tf

from igan_tf.errors import DataError
from igan_tf.images.arrays import as_unit_range

# Streams of the order's random numbers.
_UNLABELLED, _UNLABELLED_2, _LABELLED, _INITIALIZATION = range(4)


class SemiSupervisedBatches:
    """Batches of two independent shuffles of the unlabelled data, beside tiled labelled data.

    An epoch is one pass over the unlabelled data. Labelled examples are repeated to its length, each repetition
    shuffled by itself, anew in every epoch. The last, incomplete batch of an epoch is left out.

    Args:
        images: `(N, height, width, channels)`, all training images; they are the unlabelled set.
        labelled_indices: Which of them have labels; may be empty.
        labels: Their labels.
        batch_size: Examples of each kind in a batch, over all replicas of all workers.
        seed: Of the order.
        worker: This worker's number, from 0.
        num_workers: How many workers take parts of the same batches.

    Attributes:
        steps_per_epoch: Batches in an epoch.

    Raises:
        DataError: for a batch larger than the data or not divisible among the workers, and for no such worker.
    """

    def __init__(
        self,
        images: np.ndarray,
        labelled_indices: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        seed: int,
        worker: int = 0,
        num_workers: int = 1,
    ):
        self._rows = worker_rows(len(images), batch_size, worker, num_workers)
        self.labelled_indices = np.asarray(labelled_indices, "int64")
        self.labels = np.asarray(labels, "int64")
        self.batch_size = batch_size
        self.seed = seed
        self.num_images = len(images)
        self.steps_per_epoch = len(images) // batch_size
        with tf.device("CPU"):
            self._images = tf.constant(images)

    @property
    def num_labelled(self) -> int:
        """How many images have a label."""
        return len(self.labels)

    def order(self, epoch: int) -> dict[str, np.ndarray]:
        """Draws the indices of one epoch for all workers: a dict of arrays `(steps_per_epoch, batch_size)`."""
        order = {
            "unlabelled_images": self._generator(epoch, _UNLABELLED).permutation(self.num_images),
            "unlabelled_images_2": self._generator(epoch, _UNLABELLED_2).permutation(self.num_images),
        }
        if len(self.labelled_indices):
            order["labelled"] = self._tiled(epoch)
        used = self.steps_per_epoch * self.batch_size
        return {name: rows[:used].reshape(self.steps_per_epoch, -1) for name, rows in order.items()}

    def epoch(self, epoch: int, start_step: int = 0) -> tf.data.Dataset:
        """This worker's part of the batches of one epoch from `start_step` on, as dicts."""
        order = {name: rows[start_step:, self._rows] for name, rows in self.order(epoch).items()}
        return (
            tf.data.Dataset.from_tensor_slices(order)
            .map(self._gather, num_parallel_calls=1)
            .prefetch(2)
            .with_options(pipeline_options())
        )

    def initialization_examples(self, count: int, labelled: bool = False) -> tf.Tensor:
        """Takes the images of a data-dependent initialization: the first of a permutation of all.

        Args:
            count: How many; fewer where there are not so many.
            labelled: Whether to take the first of the tiled labelled set instead, if there is one.
        """
        if labelled and len(self.labelled_indices):
            return self.take(self.labelled_indices[self._tiled(0)[:count]])
        return self.take(self._generator(0, _INITIALIZATION).permutation(self.num_images)[:count])

    def take(self, indices: np.ndarray) -> tf.Tensor:
        """Images by their indices, in [0, 1]."""
        return as_unit_range(tf.gather(self._images, indices))

    def _tiled(self, epoch: int) -> np.ndarray:
        """Positions in `labelled_indices`, shuffled repetition by repetition."""
        count = len(self.labelled_indices)
        generator = self._generator(epoch, _LABELLED)
        repetitions = [generator.permutation(count) for _ in range(-(-self.num_images // count))]
        return np.concatenate(repetitions)[: self.num_images]

    def _generator(self, epoch: int, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, stream])

    def _gather(self, rows: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        batch = {name: self.take(rows[name]) for name in ("unlabelled_images", "unlabelled_images_2")}
        if "labelled" in rows:
            batch["labelled_images"] = self.take(tf.gather(self.labelled_indices, rows["labelled"]))
            batch["labels"] = tf.gather(self.labels, rows["labelled"])
        return batch


def pipeline_options() -> tf.data.Options:
    """Options of every pipeline of batches: batches in order, and no tuning while it runs.

    The thread that tunes can sleep through the word that an epoch has ended, and an iterator does not go before that
    thread. It sleeps in doubling periods of up to a minute, so that epochs took up to twice their time.
    """
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    return options


def worker_rows(count: int, batch_size: int, worker: int, num_workers: int) -> slice:
    """The slice of every batch of `count` images that is a worker's part; the parts, in order, are the batch.

    Raises:
        DataError: for a batch larger than the data or that cannot be divided, and for no such worker.
    """
    if not 1 <= batch_size <= count:
        raise DataError(
            f"`batch_size` must be from 1 to the number of training images, {count}. Received: batch_size={batch_size}"
        )
    if not 0 <= worker < num_workers:
        raise DataError(
            f"`worker` must be from 0 to `num_workers` - 1. Received: worker={worker}, num_workers={num_workers}"
        )
    if batch_size % num_workers:
        raise DataError(
            f"`batch_size` must be a multiple of `num_workers`. Received: batch_size={batch_size}, "
            f"num_workers={num_workers}"
        )
    part = batch_size // num_workers
    return slice(worker * part, (worker + 1) * part)
