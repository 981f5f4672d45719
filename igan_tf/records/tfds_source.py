"""The images of a data set that TFDS has prepared, where they stand in its files."""

from igan_tf.errors import DataError
from igan_tf.records import tfrecords
from igan_tf.records.entries import Entry, Source


def list_tfds(name, data_dir, split):
    """The `Source` of a prepared TFDS data set of images with labels; nothing is downloaded.

    Raises:
        DataError: where it is not prepared, has no such split, no image with a label, or damaged files.
    """
    builder = _prepared(name, data_dir)
    if split not in builder.info.splits:
        raise DataError(
            f"--tfds_split must be one of {', '.join(builder.info.splits)} for --source=tfds:{name}. "
            f"Received: --tfds_split={split}"
        )
    image_key, label_key = _image_and_label(builder, name)
    info = builder.info.splits[split]
    entries = []
    for path, expected in zip(info.filepaths, info.shard_lengths):
        try:
            spans = tfrecords.record_spans(path)
        except (OSError, tfrecords.RecordError) as error:
            raise DataError(f"--source=tfds:{name}: {path} cannot be read: {error}") from error
        if len(spans) != expected:
            raise DataError(f"--source=tfds:{name}: {path} holds {len(spans)} records instead of {expected}")
        entries += [
            Entry(f"{path.name}/{number:06d}", None, str(path), offset, length)
            for number, (offset, length) in enumerate(spans)
        ]
    class_names = tuple(builder.info.features[label_key].names)
    return Source(f"tfds:{builder.info.full_name}", class_names, tuple(entries), (image_key, label_key))


def _prepared(name, data_dir):
    import tensorflow_datasets as tfds

    place = f"--tfds_data_dir={data_dir}" if data_dir else f"TFDS's default folder, {tfds.core.constants.DATA_DIR}"
    try:
        builder = tfds.builder(name, data_dir=data_dir or None)
    except (tfds.core.DatasetNotFoundError, ValueError, OSError) as error:
        raise DataError(f"--source=tfds:{name} is no data set of TFDS: {str(error).splitlines()[0]}") from error
    if not builder.is_prepared():
        raise DataError(
            f"--source=tfds:{name}: no prepared data set in {place}. To prepare it, run:\n"
            f"  python -c \"import tensorflow_datasets as tfds; tfds.load('{name}', data_dir={data_dir or None!r})\""
        )
    if builder.info.file_format != tfds.core.FileFormat.TFRECORD:
        raise DataError(
            f"--source=tfds:{name} must be prepared as TFRecords. Received: {builder.info.file_format.value}"
        )
    return builder


def _image_and_label(builder, name):
    """The keys of the one image and the one class label of an example."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    images = [key for key, feature in features.items() if isinstance(feature, tfds.features.Image)]
    labels = [key for key, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)]
    if builder.info.supervised_keys and len(images) == 1:
        labels = [key for key in labels if key == builder.info.supervised_keys[1]] or labels
    if len(images) != 1 or len(labels) != 1:
        raise DataError(
            f"--source=tfds:{name} must have one image with one class label. Received: images {images}, labels {labels}"
        )
    return images[0], labels[0]
