"""Lists the images of a data set that TFDS has prepared, where they stand in its files."""

import numpy as np

from igan_tf.errors import DataError, counted
from igan_tf.images.tfds import PreparedData
from igan_tf.records import tfrecords
from igan_tf.records.entries import Entry, Source


def list_tfds(name: str, data_dir: str, split: str) -> Source:
    """Lists the images of a prepared data set of images with labels.

    Args:
        name: Its name in TFDS.
        data_dir: TFDS's folder; empty: TFDS's default.
        split: The name of one of its splits.

    Raises:
        DataError: where it is not prepared as TFRecords, has no such split, no image with a label, or damaged files.
    """
    prepared = PreparedData(name, data_dir)
    if split not in prepared.splits:
        raise DataError(f"`split` must be one of {', '.join(prepared.splits)}. Received: split={split}")
    image_key, label_key = _image_and_label(prepared)
    # TFDS keeps the bytes of floats as the colours of a PNG.
    if (dtype := np.dtype(prepared.features[image_key].np_dtype)).kind != "u":
        raise DataError(f"the images of {name} must be uint8 or uint16. Received: {dtype}")
    entries: list[Entry] = []
    for path, expected in prepared.record_files(split):
        try:
            spans = tfrecords.record_spans(path)
        except (OSError, tfrecords.RecordError) as error:
            raise DataError(f"{path} cannot be read: {error}") from error
        if len(spans) != expected:
            raise DataError(f"{path} holds {counted(len(spans), 'record')} instead of {expected}")
        entries += [
            Entry(f"{path.name}/{number:06d}", None, str(path), offset, length)
            for number, (offset, length, _) in enumerate(spans)
        ]
    class_names = tuple(prepared.features[label_key].names)
    return Source(f"tfds:{prepared.full_name}", class_names, tuple(entries), (image_key, label_key))


def _image_and_label(prepared: PreparedData) -> tuple[str, str]:
    """The keys of the one image and the one class label of an example."""
    import tensorflow_datasets as tfds

    images = [key for key, feature in prepared.features.items() if isinstance(feature, tfds.features.Image)]
    labels = [key for key, feature in prepared.features.items() if isinstance(feature, tfds.features.ClassLabel)]
    if len(images) == 1:
        labels = [key for key in labels if key == prepared.label_key] or labels
    if len(images) != 1 or len(labels) != 1:
        raise DataError(
            f"examples must have one image with one class label. Received: images {images}, labels {labels}"
        )
    return images[0], labels[0]
