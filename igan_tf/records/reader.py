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

from igan_tf.errors import DataError
from igan_tf.records import tfrecords
from igan_tf.records.example import PAYLOAD_KEYS
from igan_tf.records.manifest import read_manifest

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
