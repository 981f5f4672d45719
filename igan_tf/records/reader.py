"""Reads sharded records, each by itself, by its place in a file.

So an order of images can be a permutation of all of them that is drawn before anything is read or decoded, an epoch can
continue at any step at once, and each of several workers reads only its own part of every batch.
"""

import os
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from igan_tf.errors import DataError
from igan_tf.files import StrPath
from igan_tf.records import tfrecords
from igan_tf.records.example import PAYLOAD_KEYS
from igan_tf.records.manifest import read_manifest

# Files that the rest of the process may open beside the shards.
_OTHER_FILES = 256


class ImageRecords:
    """A set of records made by `igan_tf.records.converter`, open for reading.

    Opening reads every shard once and compares it with the manifest.

    Args:
        folder: The folder of the records.

    Attributes:
        folder: The folder, as a `Path`.
        manifest: The `Manifest`.
        class_names: A label is a place in it.
        image_shape: `(size, size, 3)`.

    Raises:
        DataError: that says what to run where there are no records, or names the shards that are missing, cut, empty
            or altered.
    """

    def __init__(self, folder: StrPath):
        self.folder = Path(folder)
        self.manifest = read_manifest(folder)
        self.manifest.check_shards(folder)
        self.class_names = self.manifest.class_names
        size = self.manifest.settings["image_size"]
        self.image_shape = (size, size, 3)
        self._encoding = self.manifest.settings["encoding"]
        self._open_shards()

    def __len__(self) -> int:
        return self.manifest.images

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Lines on images left out, of which the converter has told."""
        return ()

    def in_words(self) -> str:
        """What is read, in one line."""
        shape = "x".join(map(str, self.image_shape))
        left_out = f"; left out: {self.manifest.unreadable} that cannot be read" if self.manifest.unreadable else ""
        return f"{len(self)} images, {shape}, {self.num_classes} classes{left_out}"

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that differ where images, labels, settings or the order of storage differ."""
        return self.manifest.digest[:16]

    def read(self, indices: Sequence[int] | np.ndarray) -> list[bytes]:
        """Reads records by their numbers.

        Args:
            indices: `(N,)` integers from 0 to the number of images - 1.

        Returns:
            N serialized examples.

        Raises:
            DataError: for a record that differs from its checksum: damage after opening is found, too.
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

    def decode(self, serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Decodes serialized examples; runs in graphs.

        Args:
            serialized: `(N,)` strings.

        Returns:
            Images `(N, size, size, 3)`, uint8, and labels `(N,)`, int64.
        """
        key = PAYLOAD_KEYS[self._encoding]
        features = {key: tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}
        parsed = tf.io.parse_example(serialized, features)
        if self._encoding == "raw":
            images = tf.reshape(tf.io.decode_raw(parsed[key], tf.uint8), [-1, *self.image_shape])
        else:
            images = tf.map_fn(_decode_jpeg, parsed[key], fn_output_signature=tf.uint8)
        return tf.ensure_shape(images, [None, *self.image_shape]), parsed["label"]

    def _open_shards(self) -> None:
        _allow_open_files(len(self.manifest.shards) + _OTHER_FILES)
        self._descriptors: list[int] = []
        spans: list[tuple[int, int]] = []
        shard_of: list[int] = []
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


def _decode_jpeg(payload: tf.Tensor) -> tf.Tensor:
    # The fast method's pixels differ from processor to processor.
    return tf.io.decode_jpeg(payload, channels=3, dct_method="INTEGER_ACCURATE")


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _allow_open_files(count: int) -> None:
    """Raises this process's limit of open files to `count`, where the system allows."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        allowed = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
