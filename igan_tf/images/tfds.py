"""Data sets that TFDS has prepared on this machine. Nothing is downloaded."""

import contextlib
import itertools
import re
from collections.abc import Container, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from igan_tf.errors import DataError

_COMMAND = "python -c \"import tensorflow_datasets as tfds; tfds.load('{name}', data_dir={data_dir!r})\""
# TensorFlow's frames around a message.
_FRAMES = re.compile(r"\{\{.*?\}\}\s*|\s*\[Op:.*")


class PreparedData:
    """A data set that TFDS has prepared.

    Args:
        name: Its name in TFDS, such as "mnist", "glue/cola" or "mnist:3.0.1".
        data_dir: TFDS's folder; empty: TFDS's default.

    Attributes:
        full_name: Name, configuration and version.
        splits: The names of its splits.
        features: A dict from the name of each feature to its `tfds.features.FeatureConnector`.
        label_key: The name of the feature that is the examples' label, if the data set says so.

    Raises:
        DataError: where there is no such data set, or it is not prepared, damaged, or of a file format that is not
            read; it says what to run.
    """

    full_name: str
    splits: tuple[str, ...]
    features: dict[str, Any]
    label_key: str | None

    def __init__(self, name: str, data_dir: str | Path = ""):
        import tensorflow_datasets as tfds

        self._name = name
        default = tfds.core.constants.DATA_DIR
        self._place = (
            f"`data_dir={data_dir}`" if data_dir else f"TFDS's default folder, {default} (`data_dir` names another)"
        )
        self._command = _COMMAND.format(name=name, data_dir=data_dir or None)
        missing = f"no prepared data set {name} in {self._place}"
        with _refusing(missing, f"To prepare it, remove what is damaged there and run:\n  {self._command}"):
            try:
                self._builder = tfds.builder(name, data_dir=data_dir or None)
            except tfds.core.DatasetNotFoundError as error:
                raise DataError(f"{name} is no data set of TFDS, nor prepared in {self._place}") from error
            info = self._builder.info
            self.full_name, self.splits = info.full_name, tuple(info.splits)
            self.features = dict(info.features) if isinstance(info.features, tfds.features.FeaturesDict) else {}
            self.label_key = info.supervised_keys[1] if info.supervised_keys else None
        # A download that was cut short leaves a folder without splits.
        if not (self._builder.is_prepared() and self.splits):
            raise DataError(f"{missing}{_where_it_lies(name, data_dir)}. To prepare it, run:\n  {self._command}")
        self._refuse_formats_but(tfds.core.FileFormat.with_tf_data())

    def count(self, split: str) -> int:
        """The number of examples in a split.

        Args:
            split: In TFDS's notation: "test", "train[:1000]".

        Raises:
            DataError: for a split that it has not, or that is empty.
        """
        try:
            count = self._builder.info.splits[split].num_examples
        except (KeyError, ValueError, NotImplementedError) as error:
            raise DataError(
                f"`split` must be one of {', '.join(self.splits)}, or a part of it such as {self.splits[0]}[:100]. "
                f"Received: split={split}"
            ) from error
        # A slice that ends before it begins has a negative number.
        if count < 1:
            raise DataError(f"`split={split}` of {self._name} is empty")
        return count

    def count_images(self, split: str) -> int:
        """As `count`.

        Raises:
            DataError: also where examples have no feature `image`.
        """
        if "image" not in self.features:
            raise DataError(f"{self._name} has no feature image. Received: {', '.join(self.features)}")
        return self.count(split)

    def images(self, split: str) -> Iterator[np.ndarray]:
        """Yields the images of a split in the order of its files, `(height, width, channels)`.

        Raises:
            DataError: as `count_images`, and for damage.
        """
        self.count_images(split)
        with self._reading(split):
            for example in self._dataset(split).as_numpy_iterator():
                yield example["image"]

    def arrays(self, split: str) -> dict[str, np.ndarray]:
        """All examples of a split, stacked: a dict from the name of each feature to its array.

        Raises:
            DataError: as `count`, and for damage.
        """
        import tensorflow_datasets as tfds

        self.count(split)
        with self._reading(split):
            return tfds.as_numpy(self._dataset(split, batch_size=-1))

    def count_shared(self, split: str, other: str) -> int:
        """The number of examples that two splits have in common."""
        splits = self._builder.info.splits
        return sum(
            max(0, min(one.skip + one.take, two.skip + two.take) - max(one.skip, two.skip))
            for one in splits[split].file_instructions
            for two in splits[other].file_instructions
            if one.filename == two.filename
        )

    def record_files(self, split: str) -> list[tuple[Path, int]]:
        """The TFRecord files of a split, whole and by its name alone, with the number of records in each.

        Raises:
            DataError: for another file format.
        """
        import tensorflow_datasets as tfds

        self._refuse_formats_but({tfds.core.FileFormat.TFRECORD})
        with self._reading(split):
            info = self._builder.info.splits[split]
            return [(Path(path), length) for path, length in zip(info.filepaths, info.shard_lengths)]

    def _dataset(self, split: str, **options: Any) -> Any:
        import tensorflow_datasets as tfds

        config = tfds.ReadConfig(try_autocache=False)
        return self._builder.as_dataset(split=split, shuffle_files=False, read_config=config, **options)

    def _reading(self, split: str) -> AbstractContextManager[None]:
        remedy = f"To prepare it anew, remove {self._builder.data_path} and run:\n  {self._command}"
        return _refusing(f"`split={split}` of {self._name} in {self._place} cannot be read", remedy)

    def _refuse_formats_but(self, formats: Container[Any]) -> None:
        found = self._builder.info.file_format
        if found not in formats:
            command = _COMMAND.format(name=self._name, data_dir="ANOTHER_FOLDER")
            raise DataError(
                f"{self._name} in {self._place} must be prepared as TFRecords, as by this command:\n  {command}\n"
                f"Received: files of the format {found.value}"
            )


def _where_it_lies(name: str, data_dir: str | Path) -> str:
    """Where the folder above or one below is TFDS's, by its folder of the data set: the end of a message, or ""."""
    folder_name = re.split("[/:]", name)[0]
    if not data_dir or not folder_name.isidentifier():
        return ""
    place = Path(data_dir)
    for folder in (place.parent, *sorted(path.parent for path in place.glob(f"*/{folder_name}"))):
        # Of a version, or of a configuration's; TFDS writes it last.
        infos = (folder.glob(f"{folder_name}/{depth}/dataset_info.json") for depth in ("*", "*/*"))
        if folder.resolve() != place.resolve() and any(itertools.chain.from_iterable(infos)):
            return f", but there is in {folder}: pass `data_dir={folder}`"
    return ""


@contextlib.contextmanager
def _refusing(what: str, remedy: str) -> Iterator[None]:
    """Turns what TFDS raises in the scope into a DataError.

    It has hardly any error of its own: of data that is missing, damaged or named wrongly it raises nearly everything.
    """
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        lines = _FRAMES.sub("", getattr(error, "message", None) or str(error)).strip().splitlines()
        reason = lines[0] if lines else type(error).__name__
        raise DataError(f"{what}: {reason}{'' if _is_the_machines(error) else f'. {remedy}'}") from error


def _is_the_machines(error: Exception) -> bool:
    """Whether memory or a permission is wanting, which no other copy of the data would mend."""
    import tensorflow as tf

    of_tensorflow = (tf.errors.ResourceExhaustedError, tf.errors.PermissionDeniedError)
    return isinstance(error, (MemoryError, PermissionError, *of_tensorflow))
