"""Reads images without labels, at their own size: a folder, an .npy, an .npz, a TFDS split or scikit-learn's digits.

Unlike `sources`, which crops and resizes for training, nothing here resamples a pixel unless a size is asked for:
people must compare what the files hold. Every reader returns uint8 `(N, height, width, channels)` with 1 or 3 channels.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from igan_tf.errors import DataError, counted, prefixed
from igan_tf.images.array_files import SUFFIXES, ArrayFile, array_files, array_names, image_key
from igan_tf.images.arrays import as_bytes
from igan_tf.images.folders import in_words, list_images
from igan_tf.images.settings import IMAGE_FILES, ImageFileSettings
from igan_tf.images.tfds import PreparedData

# What `read_images` understands, for messages.
FORMS = (
    "a folder of images or of .npy and .npz files, an .npy or .npz file, tfds:<name>:<split> or digits:<train or test>"
)
_TFDS = re.compile(r"tfds:([\w./-]+):([\w%\[\]:+-]+)")


def read_images(
    place: str,
    limit: int | None = None,
    generator: np.random.Generator | None = None,
    data_dir: str = "",
    settings: ImageFileSettings = IMAGE_FILES,
    size: tuple[int, int] | None = None,
    report: Callable[[str], Any] = lambda line: None,
) -> np.ndarray:
    """Reads the images that `place` names.

    Args:
        place: A folder of images, searched with its subfolders, or one without images of .npy and .npz files; an .npy
            file; an .npz file with one array, or with one named `images` or `arr_0`; `tfds:<name>:<split>`, prepared
            data of TFDS, such as `tfds:mnist:test`; `digits:train` or `digits:test`, scikit-learn's digits as training
            takes them.
        limit: At most so many images, drawn at random without replacement; None: all.
        generator: Of that draw; None: a new one.
        data_dir: TFDS's folder; empty: TFDS's default.
        settings: How image files are read, and how many may be unreadable.
        size: `(height, width)` that the image files of a folder are brought to, by `settings.fit`; None: their own.
        report: Called with each line on what was read of a folder, and what was left out.

    Returns:
        uint8 `(N, height, width, channels)`, in the order of the source.

    Raises:
        DataError: that names the source, and the file in it, that is missing, empty, unreadable or of another size
            than those before it.
    """
    if matched := _TFDS.fullmatch(place):
        return as_bytes(_read_tfds(place, matched[1], matched[2], data_dir, limit, generator), place)
    if place.startswith("digits:"):
        images = _read_digits(place)
        return as_bytes(images[_drawn(len(images), limit, generator)], place)
    path = Path(place)
    if path.is_dir():
        return _read_folder(path, limit, generator, settings, size, report)
    if path.suffix.lower() in SUFFIXES:
        array = _open_array(path)
        return as_bytes(_take(array, _drawn(array.shape[0], limit, generator)), place)
    raise DataError(f"`place` must name {FORMS}. Received: place={place}")


def _drawn(count: int, limit: int | None, generator: np.random.Generator | None) -> np.ndarray:
    """The sorted positions of `limit` of `count` items; of all where there are no more."""
    if limit is None or count <= limit:
        return np.arange(count)
    return np.sort((generator or np.random.default_rng()).permutation(count)[:limit])


def _read_folder(
    folder: Path,
    limit: int | None,
    generator: np.random.Generator | None,
    settings: ImageFileSettings,
    size: tuple[int, int] | None,
    report: Callable[[str], Any],
) -> np.ndarray:
    if shards := array_files(folder):
        arrays = [_open_array(path) for path in shards]
        starts = np.cumsum([0, *(array.shape[0] for array in arrays)])
        rows = _drawn(int(starts[-1]), limit, generator)
        found = []
        for path, array, start, end in zip(shards, arrays, starts, starts[1:]):
            if len(wanted := rows[(rows >= start) & (rows < end)] - start):
                found += [(str(path), image) for image in as_bytes(_take(array, wanted), path)]
    else:
        found = _read_files(folder, limit, generator, settings, size, report)
    first_path, first = found[0]
    for name, image in found:
        if image.shape[:2] != first.shape[:2]:
            raise DataError(
                f"images must all have one size{'' if size else '; `fit` brings the image files of a folder to one'}. "
                f"Received: {name} with {_size(image)}, {first_path} with {_size(first)}"
            )
    channels = max(image.shape[2] for _, image in found)
    return np.stack([np.broadcast_to(image, (*image.shape[:2], channels)) for _, image in found])


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]} pixels"


def _read_files(
    folder: Path,
    limit: int | None,
    generator: np.random.Generator | None,
    settings: ImageFileSettings,
    size: tuple[int, int] | None,
    report: Callable[[str], Any],
) -> list[tuple[str, np.ndarray]]:
    """The path and the pixels of each image of a folder, grey ones with one channel."""
    from PIL import Image

    from igan_tf.images.decoding import UnreadableImage, fitted
    from igan_tf.images.reading import fault_of, read_files, refuse_too_many

    def pixels(image: Image.Image) -> np.ndarray:
        array = np.asarray(image if size is None else fitted(image, size, settings))
        return array.reshape(*array.shape[:2], -1)

    listing = list_images(folder)
    files = [listing.files[row] for row in _drawn(len(listing.files), limit, generator)]
    if not files:
        raise DataError(f"the folder {folder} holds no images; {in_words(listing.left_out) or 'it is empty'}")
    read = list(zip(files, read_files(files, settings, pixels)))
    faults = [fault_of(file, image) for file, image in read if isinstance(image, UnreadableImage)]
    refuse_too_many(faults, len(files), settings.max_unreadable, f"the folder {folder}")
    drawn = f", {len(files)} drawn of {len(listing.files)}" if len(files) < len(listing.files) else ""
    left_out = in_words(listing.left_out, len(faults))
    report("; ".join(filter(None, [f"{folder}: {counted(len(read) - len(faults), 'image')}{drawn}", left_out])))
    for fault in faults:
        report(f"left out: {fault}")
    return [(file.path, image) for file, image in read if not isinstance(image, UnreadableImage)]


def _open_array(path: Path) -> ArrayFile:
    key = image_key(path)
    if key is None:
        raise DataError(
            f"{path} must hold one array, or one named images or arr_0. Received: {', '.join(array_names(path))}"
        )
    array = ArrayFile(path, key)
    if array.channels_first:
        raise DataError(
            f"{array.name} must have its channels last: array.transpose(0, 2, 3, 1). Received: shape "
            f"{array.stored_shape}, channels first"
        )
    return array


def _take(array: ArrayFile, rows: np.ndarray) -> np.ndarray:
    """The images at sorted positions; no others stay in memory."""
    images, start = np.empty((len(rows), *array.shape[1:]), array.dtype), 0
    for piece in array.rows():
        first, last = np.searchsorted(rows, (start, start + len(piece)))
        images[first:last] = piece[rows[first:last] - start]
        start += len(piece)
    return images


def _read_digits(place: str) -> np.ndarray:
    from igan_tf.data.settings import DataSettings
    from igan_tf.data.sources import load_digits

    data = load_digits(DataSettings(dataset="digits"))
    splits = {"digits:train": data.train_images, "digits:test": data.test_images}
    if place not in splits:
        raise DataError(f"`place` must be one of {', '.join(splits)}. Received: place={place}")
    return splits[place]


def _read_tfds(
    place: str, name: str, split: str, data_dir: str, limit: int | None, generator: np.random.Generator | None
) -> np.ndarray:
    with prefixed(place):
        data = PreparedData(name, data_dir)
        rows = set(_drawn(data.count_images(split), limit, generator).tolist())
        images, sizes = [], set()
        for row, image in enumerate(data.images(split)):
            sizes.add(image.shape)
            if row in rows:
                images.append(image)
    if len(sizes) != 1:
        raise DataError(f"{place}: images must all have one size. Received: {sorted(sizes)[:3]}")
    return np.stack(images)
