"""Where images come from: scikit-learn's digits, TFDS, or a folder of the user's own."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from igan_tf.data.image_data import ImageData
from igan_tf.errors import DataError, prefixed, renamed
from igan_tf.images.class_folders import list_classes
from igan_tf.images.folders import ImageFile, in_words
from igan_tf.images.tfds import PreparedData

if TYPE_CHECKING:
    from PIL import Image

    from igan_tf.data.settings import DataSettings
    from igan_tf.records.reader import ImageRecords

_FOLDER_IMAGE_SIZE = (32, 32)
_RECORDS_AT_A_TIME = 256
# A file and the name of its class, or None.
_LabelledFile = tuple[ImageFile, str | None]


def load_digits(config: DataSettings) -> ImageData:
    """scikit-learn's 1,797 digits of 8x8 pixels; a fixed third, every third example, is the test set."""
    from sklearn.datasets import load_digits as load

    digits = load()
    images = (digits.images / 16).astype("float32")[..., None]
    labels = digits.target.astype("int64")
    test = np.arange(len(labels)) % 3 == 2
    return ImageData(images[~test], labels[~test], images[test], labels[test], tuple("0123456789"))


def _load_tfds(config: DataSettings, name: str) -> ImageData:
    """A data set as prepared by TFDS in `data_dir`, by default its splits train and test; nothing is downloaded."""
    splits = {"train_split": config.train_split or "train", "test_split": config.test_split or "test"}
    with prefixed(f"`dataset={config.dataset}`"):
        prepared = PreparedData(name, config.data_dir)
        for argument, split in splits.items():
            with renamed(split=argument):
                prepared.count(split)
        if shared := prepared.count_shared(*splits.values()):
            received = " ".join(f"{argument}={split}" for argument, split in splits.items())
            raise DataError(
                f"`train_split` and `test_split` must have no images in common, and have {shared}. Received: {received}"
            )
        train, test = map(prepared.arrays, splits.values())
    return ImageData(
        train["image"],
        train["label"].astype("int64"),
        test["image"],
        test["label"].astype("int64"),
        tuple(prepared.features["label"].names),
    )


def load_folder(config: DataSettings) -> ImageData:
    """The user's own images in `data_dir`, in the layouts that `igan_tf.images.class_folders.list_classes` describes.

    Where the folder has no test split of its own, `test_fraction` of each class is held out, the same part in every
    run. Images are made RGB, or grey with `channels=1`, and brought to `image_size` by `fit`.
    """
    # Pillow's readers take longer than a command's help.
    from igan_tf.images.decoding import UnreadableImage, fitted
    from igan_tf.images.reading import fault_of, read_files, refuse_too_many

    root = Path(config.data_dir)
    if not config.data_dir or not root.is_dir():
        fault = "is a file" if root.exists() else "does not exist"
        received = f"{config.data_dir}, which {fault}" if config.data_dir else ""
        raise DataError(f"`dataset=folder` needs a folder of images. Received: data_dir={received}")
    found = list_classes(root, "data_dir")
    names = found.class_names
    train, test = list(found.train), list(found.test or ())
    if found.test is None:
        train, test = _hold_out(train, names, config.test_fraction)
    if not train:
        raise DataError(f"`data_dir={root}` holds no images to train on; {in_words(found.left_out) or 'it is empty'}")
    size = config.size or _FOLDER_IMAGE_SIZE
    _refuse_too_large(
        f"`data_dir={root}`",
        len(train) + len(test),
        (*size, config.channels),
        f"; images of a smaller `image_size` need less. Received: image_size={config.image_size}",
    )
    numbers: dict[str | None, int] = {name: number for number, name in enumerate(names)}
    numbers[None] = -1
    faults: list[str] = []

    def convert(image: Image.Image) -> np.ndarray:
        mode = "L" if config.channels == 1 else "RGB"
        # Padding may bring colour back.
        return np.asarray(fitted(image.convert(mode), size, config).convert(mode)).reshape(*size, config.channels)

    def load(files: Sequence[_LabelledFile]) -> tuple[np.ndarray, np.ndarray]:
        images, labels = np.empty((len(files), *size, config.channels), "uint8"), list[int]()
        for (file, name), image in zip(files, read_files((file for file, _ in files), config, convert)):
            if isinstance(image, UnreadableImage):
                faults.append(fault_of(file, image))
            else:
                images[len(labels)] = image
                labels.append(numbers[name])
        return images[: len(labels)], np.array(labels, "int64")

    to_train_on = load(train)
    in_training = len(faults)
    to_test_on = load(test)
    refuse_too_many(faults, len(train) + len(test), config.max_unreadable, f"`data_dir={root}`")
    about = in_words(found.left_out, len(faults))
    return ImageData(*to_train_on, *to_test_on, tuple(names), about, tuple(faults), in_training)


def _hold_out(
    files: Sequence[_LabelledFile], names: Sequence[str], fraction: float
) -> tuple[list[_LabelledFile], list[_LabelledFile]]:
    """Takes `fraction` of each class, rounded down, for the test set."""
    # Not by a seed of the run: runs and label draws are compared on one test set, and evaluated later on the same.
    generator = np.random.default_rng(0)
    held_out: set[int] = set()
    for name in names:
        members = [position for position, (_, of_class) in enumerate(files) if of_class == name]
        held_out.update(generator.permutation(members)[: int(fraction * len(members))].tolist())
    train = [file for position, file in enumerate(files) if position not in held_out]
    return train, [files[position] for position in sorted(held_out)]


def load_imagenet(config: DataSettings) -> ImageRecords:
    """The records in `data_dir`, opened: see `igan_tf.data.imagenet_records`."""
    from igan_tf.records.reader import ImageRecords

    if not config.data_dir:
        raise DataError(
            "`dataset=imagenet` needs `data_dir`, a folder of records made by `python -m "
            "igan_tf.data.imagenet_records`. Received: data_dir="
        )
    try:
        records = ImageRecords(config.data_dir)
    except DataError as error:
        raise DataError(f"`data_dir={config.data_dir}`: {error}") from error
    height, width, _ = records.image_shape
    if config.size not in (None, (height, width)):
        raise DataError(
            f"`data_dir={config.data_dir}` holds records of {height}x{width} images; the converter has a flag of the "
            f"same name. Received: image_size={config.image_size}"
        )
    return records


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set that `dataset` can name.

    Attributes:
        load: Function of a `DataSettings` that returns the `ImageData` or `ImageRecords`.
        recipe: The recipe that trains on it unless another is asked for.
        network: The networks of the semi-supervised recipe for it.
        streamed: Whether it is read from files while it is used; `load` then returns `ImageRecords`.
        tfds: Whether it is one of TFDS, of which splits can be named.
    """

    load: Callable[[DataSettings], ImageData | ImageRecords]
    recipe: str
    network: str
    streamed: bool = False
    tfds: bool = False


DATASETS = {
    "digits": Dataset(load_digits, recipe="semi_supervised", network="digits"),
    "mnist": Dataset(functools.partial(_load_tfds, name="mnist"), recipe="semi_supervised", network="mnist", tfds=True),
    "cifar10": Dataset(
        functools.partial(_load_tfds, name="cifar10"), recipe="semi_supervised", network="cifar10", tfds=True
    ),
    "svhn": Dataset(
        functools.partial(_load_tfds, name="svhn_cropped"), recipe="semi_supervised", network="svhn", tfds=True
    ),
    # Of any size: the dense networks are the ones that take all of them.
    "folder": Dataset(load_folder, recipe="semi_supervised", network="mnist"),
    "imagenet": Dataset(load_imagenet, recipe="imagenet", network="cifar10", streamed=True),
}


def _refuse_too_large(where: str, count: int, shape: tuple[int, ...], more: str) -> None:
    """Raises a DataError, which ends with `more`, for so many images of bytes that memory does not hold them."""
    size = count * math.prod(shape)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # The images stand in memory twice: for the batches as a tensor.
    if 2 * size > memory:
        raise DataError(
            f"{where}: {count} images of {shape} are {size / 1e9:.1f} GB, too many to be held in {memory / 1e9:.1f} GB "
            f"of memory{more}"
        )


def in_memory(records: ImageRecords) -> ImageData:
    """All images of `ImageRecords` as `ImageData`; none are held out."""
    _refuse_too_large(f"{records.folder}", len(records), records.image_shape, ", as the recipe semi_supervised does")
    images = np.empty((len(records), *records.image_shape), "uint8")
    labels = np.empty(len(records), "int64")
    for start in range(0, len(records), _RECORDS_AT_A_TIME):
        rows = slice(start, min(start + _RECORDS_AT_A_TIME, len(records)))
        pixels, classes = records.decode(records.read(np.arange(rows.start, rows.stop)))
        images[rows], labels[rows] = pixels.numpy(), classes.numpy()
    nothing = images[:0], labels[:0]
    return ImageData(images, labels, *nothing, tuple(records.class_names))


def load_data(settings: DataSettings, streamed: bool = True) -> ImageData | ImageRecords:
    """The data set that a `DataSettings` names: `ImageData`, or `ImageRecords`.

    Args:
        settings: The `DataSettings`; a run's config is one.
        streamed: Whether records may stay on the disk; otherwise they are read into memory.

    Raises:
        DataError: with what is missing and how to get it.
    """
    dataset = DATASETS[settings.dataset]
    data = dataset.load(settings)
    if not isinstance(data, ImageData) and not streamed:
        data = in_memory(data)
    count = settings.train_images
    if not count:
        return data
    if not isinstance(data, ImageData):
        raise DataError(f"`train_images` is for images in memory, not for records. Received: train_images={count}")
    if count > len(data.train_images):
        raise DataError(
            f"`train_images` must be at most the number of training images, {len(data.train_images)}. "
            f"Received: train_images={count}"
        )
    # Not the first: folders are in the order of their classes. Not by a seed of the run: subsets are compared.
    chosen = np.sort(np.random.default_rng(0).permutation(len(data.train_images))[:count])
    return dataclasses.replace(data, train_images=data.train_images[chosen], train_labels=data.train_labels[chosen])
