"""Lists the images to convert: of class folders, of ImageNet's tar of tars, or of a data set prepared by TFDS.

A source is a list of entries, each a range of bytes in a file, in an order that does not depend on the file system.
Each can be read by itself: images are shuffled, and an interrupted conversion continues, without unpacking anything.
"""

import collections
import os
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from igan_tf.errors import DataError, prefixed
from igan_tf.images.class_folders import list_classes
from igan_tf.images.decoding import UnreadableImage, refuse_too_large
from igan_tf.images.folders import (
    NO_IMAGES,
    SIGNATURE_BYTES,
    begins_as_image,
    has_image_suffix,
    in_words,
    is_hidden,
)
from igan_tf.images.settings import DecodingSettings
from igan_tf.records import tfrecords
from igan_tf.records.entries import Entry, Source
from igan_tf.records.example import ExampleError, decode_features
from igan_tf.records.tfds_source import list_tfds

_TFDS_PREFIX = "tfds:"
_TAR_BLOCK = 512


def open_source(source: str, data_dir: str = "", split: str = "train") -> Source:
    """Lists the images of `source`, without reading them.

    Args:
        source: A folder of class folders, an uncompressed tar of one tar a class such as ILSVRC2012_img_train.tar, or
            "tfds:" and the name of a data set that TFDS has prepared.
        data_dir: TFDS's folder; empty: TFDS's default.
        split: Which of its splits.

    Returns:
        A `Source`.

    Raises:
        DataError: that names what is wrong with it.
    """
    if not source:
        raise DataError("`source` must be a folder, a tar file or tfds:<name>. Received: source=")
    if source.startswith(_TFDS_PREFIX):
        with prefixed(f"`source={source}`"):
            return list_tfds(source.removeprefix(_TFDS_PREFIX), data_dir, split)
    path = Path(source)
    try:
        if path.is_dir():
            return _list_folder(path)
        if path.is_file():
            return _list_tar(path)
    except OSError as error:
        raise DataError(f"`source={source}` cannot be read: {error}") from error
    raise DataError(f"`source={source}` does not exist")


def read_entry(entry: Entry, example_keys: tuple[str, ...], settings: DecodingSettings) -> tuple[bytes, int]:
    """Reads one image.

    Args:
        entry: Where it stands.
        example_keys: The source's.
        settings: How large an image may be.

    Returns:
        The bytes of an image file, and the label.

    Raises:
        OSError: where the file cannot be read.
        UnreadableImage: where it is too large or cut, or holds no example with an image and a label.
    """
    refuse_too_large(entry.length, settings)
    with open(entry.path, "rb", buffering=0) as file:
        if example_keys:
            try:
                record = tfrecords.read_record(file.fileno(), entry.offset, entry.length)
                image, label = decode_features(record, *example_keys)
            except (tfrecords.RecordError, ExampleError) as error:
                raise UnreadableImage(str(error)) from error
            return image, label
        data = os.pread(file.fileno(), entry.length, entry.offset)
    if len(data) < entry.length:
        raise UnreadableImage(f"the file ends after {len(data)} of {entry.length} bytes")
    # Of examples alone the label stands beside the image.
    assert entry.label is not None
    return data, entry.label


def _list_folder(root: Path) -> Source:
    found = list_classes(root, "source")
    left_out = dict(found.left_out)
    if found.test is not None:
        left_out["in its own test split"] = len(found.test)
    if without := sum(name is None for _, name in found.train):
        left_out["without a class"] = without
    if not found.class_names:
        rest = f"; {in_words(left_out)}" if left_out else ""
        raise DataError(f"`source={root}` must hold one folder of images a class, and holds none{rest}")
    labels = {name: label for label, name in enumerate(found.class_names)}
    entries = [
        Entry("/".join(file.parts[-2:]), labels[name], file.path, 0, file.size)
        for file, name in found.train
        if name is not None
    ]
    return Source("folder", found.class_names, tuple(entries), left_out=in_words(left_out))


def _list_tar(path: Path) -> Source:
    classes = {}
    left_out: collections.Counter[str] = collections.Counter()
    for member in _members(path, 0, path.stat().st_size, path.name, left_out):
        name = PurePosixPath(member.name).name
        if is_hidden(name) or not name.endswith(".tar"):
            left_out["hidden" if is_hidden(name) else "beside the tars"] += 1
            continue
        class_name = name.removesuffix(".tar")
        if class_name in classes:
            raise DataError(f"`source={path}` holds {name} twice")
        classes[class_name] = member
    if not classes:
        raise DataError(f"`source={path}` must hold one tar a class, as ILSVRC2012_img_train.tar, and holds none")
    entries = []
    for label, class_name in enumerate(sorted(classes)):
        outer = classes[class_name]
        images = {}
        for member in _members(path, outer.offset_data, outer.size, f"{class_name}.tar in it", left_out):
            file = PurePosixPath(member.name).name
            if is_hidden(file):
                left_out["hidden"] += 1
                continue
            if file in images:
                raise DataError(f"`source={path}`: {class_name}.tar in it holds {file} twice")
            offset = outer.offset_data + member.offset_data
            if not (has_image_suffix(file) or _begins_as_image(path, file, offset, member.size)):
                left_out[NO_IMAGES] += 1
                continue
            images[file] = Entry(f"{class_name}/{file}", label, str(path), offset, member.size)
        if not images:
            raise DataError(f"`source={path}`: {class_name}.tar in it holds no images")
        entries += [images[file] for file in sorted(images)]
    return Source("tar", tuple(sorted(classes)), tuple(entries), left_out=in_words(left_out))


def _begins_as_image(path: Path, name: str, offset: int, size: int) -> bool:
    with open(path, "rb", buffering=0) as file:
        return begins_as_image(name, os.pread(file.fileno(), min(size, SIGNATURE_BYTES), offset))


def _members(
    path: Path, offset: int, size: int, what: str, left_out: collections.Counter[str]
) -> list[tarfile.TarInfo]:
    """The regular files of the tar that stands in `path` at `offset`; counts in `left_out` what else there is.

    Raises:
        DataError: where it is compressed, cut or damaged, most of which `tarfile` takes for the end of the archive.
    """
    with open(path, "rb") as file:
        part: Any = _Part(file, offset, size)
        try:
            with tarfile.open(fileobj=part, mode="r:") as archive:
                members = archive.getmembers()
                end = archive.offset
        except (tarfile.TarError, OSError) as error:
            raise DataError(f"`source={path}`: {what} is not a whole uncompressed tar: {error}") from error
        part.seek(end)
        if part.read(_TAR_BLOCK) != bytes(_TAR_BLOCK):
            raise DataError(f"`source={path}`: {what} is cut or damaged at byte {end} of {size}")
    if sparse := next((member for member in members if member.issparse()), None):
        # Its bytes do not stand as they are in the archive.
        raise DataError(f"`source={path}`: {what} holds the sparse file {sparse.name}, which cannot be read in place")
    if others := sum(not (member.isfile() or member.isdir()) for member in members):
        left_out["that are links, pipes or devices"] += others
    return [member for member in members if member.isfile()]


class _Part:
    """Shows a range of bytes of an open file to `tarfile` as a file."""

    def __init__(self, file: BinaryIO, offset: int, size: int):
        self._file, self._offset, self._size = file, offset, size
        self._position = 0

    def seek(self, position: int) -> None:
        self._position = position

    def tell(self) -> int:
        return self._position

    def read(self, count: int) -> bytes:
        count = max(0, min(count, self._size - self._position))
        data = os.pread(self._file.fileno(), count, self._offset + self._position)
        self._position += len(data)
        return data
