"""Reads sharded records, each by itself, by its place in a file.

So an order of images can be a permutation of all of them that is drawn before anything is read or decoded, an epoch can
continue at any step at once, and each of several workers reads only its own part of every batch.
"""

import contextlib
import math
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from igan_tf.errors import DataError, counted, first_line
from igan_tf.files import StrPath
from igan_tf.records import tfrecords
from igan_tf.records.example import PAYLOAD_KEYS, ExampleError, decode_features
from igan_tf.records.manifest import read_manifest
from igan_tf.records.settings import ConversionSettings

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
        return f"{counted(len(self), 'image')}, {shape}, {counted(self.num_classes, 'class')}{left_out}"

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
            DataError: for a record that differs from its checksum, so that damage after opening is found, too; and for
                one that is no image of this set with its label.
        """
        records = []
        for index in np.asarray(indices).tolist():
            shard = self._shard_of[index]
            try:
                record = tfrecords.read_record(self._files[shard].fileno(), *self._spans[index].tolist())
                self._check(record)
                records.append(record)
            except ExampleError as error:
                place = f"{self.folder / self.manifest.shards[shard].name}: the record at byte {self._spans[index][0]}"
                raise DataError(f"{place} cannot be used: {error}") from error
            except (OSError, tfrecords.RecordError) as error:
                raise DataError(f"{self.folder / self.manifest.shards[shard].name}: {error}") from error
        return records

    def _check(self, record: bytes) -> None:
        """Raises an ExampleError for what is no example of an image of this set."""
        payload, label = decode_features(record, PAYLOAD_KEYS[self._encoding], "label")
        if not isinstance(payload, bytes) or not isinstance(label, int):
            raise ExampleError(f"its image is {type(payload).__name__}, its label {type(label).__name__}")
        if not 0 <= label < self.num_classes:
            raise ExampleError(f"its label {label} is none of the {counted(self.num_classes, 'class')}")
        if self._encoding == "raw" and len(payload) != math.prod(self.image_shape):
            raise ExampleError(f"its image has {len(payload)} bytes instead of {math.prod(self.image_shape)}")

    def decode(self, serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Decodes serialized examples; runs in graphs.

        Args:
            serialized: `(N,)` strings, as `read` returns them.

        Returns:
            Images `(N, size, size, 3)`, uint8, and labels `(N,)`, int64.

        Raises:
            DataError: for a JPEG of another size, or none. In a graph, one of TensorFlow's `OpError`s when it runs.
        """
        try:
            return self._decoded(serialized)
        except tf.errors.OpError as error:
            raise DataError(f"{self.folder} holds records that cannot be read: {first_line(error)}") from error

    def _decoded(self, serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        key = PAYLOAD_KEYS[self._encoding]
        features = {key: tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}
        parsed = tf.io.parse_example(serialized, features)
        if self._encoding == "raw":
            images = tf.reshape(tf.io.decode_raw(parsed[key], tf.uint8), [-1, *self.image_shape])
        else:
            # AutoGraph would put a report of its own before the errors.
            decode = tf.autograph.experimental.do_not_convert(self._decode_jpeg)
            images = tf.map_fn(decode, parsed[key], fn_output_signature=tf.uint8)
        return tf.ensure_shape(images, [None, *self.image_shape]), parsed["label"]

    def _decode_jpeg(self, payload: tf.Tensor) -> tf.Tensor:
        # Before it is decoded: a few bytes can ask for gigabytes.
        size = tf.io.extract_jpeg_shape(payload)
        message = f"an image in {self.folder} is not of the shape {self.image_shape}"
        with tf.control_dependencies([tf.debugging.assert_equal(size, self.image_shape, message)]):
            # The fast method's pixels differ from processor to processor.
            return tf.io.decode_jpeg(payload, channels=3, dct_method="INTEGER_ACCURATE")

    def _open_shards(self) -> None:
        _allow_open_files(len(self.manifest.shards) + _OTHER_FILES)
        self._files = self.manifest.open_shards(self.folder)
        closing = contextlib.ExitStack()
        weakref.finalize(self, closing.close)
        for file in self._files:
            closing.enter_context(file)
        most_bytes = ConversionSettings(**self.manifest.settings).most_record_bytes
        spans: list[tfrecords.Span] = []
        shard_of: list[int] = []
        for number, (file, shard) in enumerate(zip(self._files, self.manifest.shards)):
            path = self.folder / shard.name
            try:
                found = list(tfrecords.spans_of(file.fileno()))
            except (OSError, tfrecords.RecordError) as error:
                raise DataError(f"{path} cannot be read: {error}") from error
            if large := next((span for span in found if span.length > most_bytes), None):
                raise DataError(
                    f"{path} cannot be read: record {found.index(large)} has {large.length} bytes, more than an image "
                    "takes"
                )
            if len(found) != shard.records:
                raise DataError(f"{path} holds {counted(len(found), 'record')} instead of {shard.records}")
            spans += found
            shard_of += [number] * len(found)
        self._spans = np.array(spans, "int64")
        self._shard_of = np.array(shard_of, "int32")


def _allow_open_files(count: int) -> None:
    """Raises this process's limit of open files to `count`, where the system allows."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        allowed = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
