"""Batches from sharded records: checked on opening, in an order that is a function of (seed, epoch), from any step on.

Every record can be read by itself, by its place in a file. So the order is a true permutation of all images, drawn
anew each epoch, before anything is read or decoded; an epoch continues at any step at once; and each of several workers
reads only its own part of every batch.
"""

import os
import weakref
from pathlib import Path

import numpy as np
import tensorflow as tf

from igan_tf.data.batches import worker_rows
from igan_tf.data.image_data import DataError, as_unit_range
from igan_tf.data.records import tfrecords
from igan_tf.data.records.example import PAYLOAD_KEYS
from igan_tf.data.records.manifest import read_manifest

# Streams of the order's random numbers.
_ORDER, _FLIPS = range(2)
_PARALLEL_READS = 4
_PREFETCHED_BATCHES = 4
# Open files that the rest of the process may need beside the shards.
_OTHER_FILES = 256


class ImageRecords:
    """A set of records made by `igan_tf.data.imagenet_records`, open for reading.

    Opening compares every shard with the manifest, which means to read all of it once.

    Args:
        folder: The folder of the records.

    Attributes:
        manifest: The `Manifest`.
        class_names: A label is a place in it.
        image_shape: `(size, size, 3)`.

    Raises:
        DataError: that says what to run where there are no records, or names the shards that are missing, cut, empty
            or altered.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.manifest = read_manifest(folder)
        self.manifest.check_shards(folder)
        self.class_names = self.manifest.class_names
        size = self.manifest.settings["image_size"]
        self.image_shape = (size, size, 3)
        self._encoding = self.manifest.settings["encoding"]
        self._open_shards()

    def __len__(self):
        return self.manifest.images

    @property
    def num_classes(self):
        return len(self.class_names)

    def fingerprint(self):
        """Sixteen hexadecimal digits that are another for other images, labels, settings or order of storage."""
        return self.manifest.digest[:16]

    def read(self, indices):
        """The serialized examples of the records `indices`, an array of integers below the number of images.

        Returns:
            List of bytes.

        Raises:
            DataError: for a record that differs from its checksum, so that damage after opening is not read either.
        """
        records = []
        for index in np.asarray(indices).tolist():
            shard = self._shard_of[index]
            try:
                records.append(
                    tfrecords.read_record(self._descriptors[shard], self._offsets[index], self._lengths[index])
                )
            except (OSError, tfrecords.RecordError) as error:
                raise DataError(f"{self.folder / self.manifest.shards[shard].name}: {error}") from error
        return records

    def decode(self, serialized):
        """Images `(N, size, size, 3)`, uint8, and labels `(N,)`, int64, of N serialized examples; runs in graphs."""
        key = PAYLOAD_KEYS[self._encoding]
        features = {key: tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}
        parsed = tf.io.parse_example(serialized, features)
        if self._encoding == "raw":
            images = tf.reshape(tf.io.decode_raw(parsed[key], tf.uint8), [-1, *self.image_shape])
        else:
            images = tf.map_fn(_decode_jpeg, parsed[key], fn_output_signature=tf.uint8)
        return tf.ensure_shape(images, [None, *self.image_shape]), parsed["label"]

    def _open_shards(self):
        _allow_open_files(len(self.manifest.shards) + _OTHER_FILES)
        self._descriptors, spans, shard_of = [], [], []
        weakref.finalize(self, _close, self._descriptors)
        for number, shard in enumerate(self.manifest.shards):
            path = self.folder / shard.name
            try:
                self._descriptors.append(os.open(path, os.O_RDONLY))
                found = tfrecords.record_spans(path)
            except (OSError, tfrecords.RecordError) as error:
                raise DataError(f"{path} cannot be read: {error}") from error
            if len(found) != shard.records:
                raise DataError(f"{path} holds {len(found)} records instead of {shard.records}")
            spans += found
            shard_of += [number] * len(found)
        self._offsets, self._lengths = np.array(spans, "int64").reshape(-1, 2).T
        self._shard_of = np.array(shard_of, "int32")


class RecordBatches:
    """Shuffled batches of records for training, one pass over all of them an epoch.

    The last, incomplete batch of an epoch is left out. With several workers, a batch's rows are divided among them in
    order: the workers' parts, put together, are the batch of one worker.

    Args:
        records: The `ImageRecords`.
        batch_size: Images in a batch, over all workers and replicas.
        seed: Of order and flips.
        flip: Whether to mirror each image left to right with probability 1/2, anew each epoch.
        as_float: Whether images are float32 in [0, 1], or uint8.
        worker: This worker's number, from 0.
        num_workers: How many workers read parts of the same batches.

    Attributes:
        steps_per_epoch: Batches in an epoch.

    Raises:
        ValueError: for a batch larger than the data or not divisible among the workers, and for no such worker.
    """

    def __init__(self, records, batch_size, seed, flip=False, as_float=True, worker=0, num_workers=1):
        if not 1 <= batch_size <= len(records):
            raise ValueError(
                f"`batch_size` must be from 1 to the number of images, {len(records)}. "
                f"Received: batch_size={batch_size}"
            )
        self._rows = worker_rows(batch_size, worker, num_workers)
        self.records = records
        self.batch_size = batch_size
        self.seed = seed
        self.flip = flip
        self.as_float = as_float
        self.steps_per_epoch = len(records) // batch_size

    @property
    def num_labelled(self):
        """How many images have a label: all."""
        return len(self.records)

    def order(self, epoch):
        """The indices of one epoch's images, `(steps_per_epoch, batch_size)`, those of all workers."""
        order = self._generator(epoch, _ORDER).permutation(len(self.records))
        return order[: self.steps_per_epoch * self.batch_size].reshape(self.steps_per_epoch, self.batch_size)

    def flipped(self, epoch):
        """Which images are mirrored in an epoch: an array of bool by index."""
        if not self.flip:
            return np.zeros(len(self.records), bool)
        return self._generator(epoch, _FLIPS).random(len(self.records)) < 0.5

    def epoch(self, epoch, start_step=0):
        """This worker's part of the batches of one epoch from `start_step` on.

        Returns:
            A `tf.data.Dataset` of dicts of `images`, `(rows, size, size, 3)`, and `labels`, `(rows,)`, int64. It needs
            no sharding by `tf.distribute`: of several workers each makes its own.
        """
        indices = self.order(epoch)[start_step:, self._rows]
        rows = {"indices": indices, "flipped": self.flipped(epoch)[indices]}
        options = tf.data.Options()
        options.deterministic = True
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        return (
            tf.data.Dataset.from_tensor_slices(rows)
            .map(self._read, num_parallel_calls=_PARALLEL_READS)
            .map(self._batch, num_parallel_calls=tf.data.AUTOTUNE)
            .prefetch(_PREFETCHED_BATCHES)
            .with_options(options)
        )

    def take(self, indices):
        """Images by their indices, not mirrored, in the form of the batches' images."""
        images, _ = self.records.decode(tf.constant(self.records.read(indices), tf.string))
        return as_unit_range(images) if self.as_float else images

    def _generator(self, epoch, stream):
        return np.random.default_rng([self.seed, epoch, stream])

    def _read(self, rows):
        serialized = tf.numpy_function(self._read_rows, [rows["indices"]], tf.string, stateful=False)
        serialized.set_shape(rows["indices"].shape)
        return serialized, rows["flipped"]

    def _read_rows(self, indices):
        return np.array(self.records.read(indices), object)

    def _batch(self, serialized, flipped):
        images, labels = self.records.decode(serialized)
        images = tf.ensure_shape(images, [*serialized.shape, *self.records.image_shape])
        if self.flip:
            images = tf.where(flipped[:, None, None, None], tf.reverse(images, [2]), images)
        return {"images": as_unit_range(images) if self.as_float else images, "labels": labels}


def _decode_jpeg(payload):
    # The fast method is another on other processors.
    return tf.io.decode_jpeg(payload, channels=3, dct_method="INTEGER_ACCURATE")


def _close(descriptors):
    for descriptor in descriptors:
        os.close(descriptor)


def _allow_open_files(count):
    """Raises this process's limit of open files to `count`, where the system allows."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        allowed = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
