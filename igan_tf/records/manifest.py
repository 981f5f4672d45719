"""`manifest.json`, written last, describes a whole set of records.

A folder without it is no set. Sizes and SHA-256 in it reveal each shard that is missing, cut, altered or exchanged,
before the first of them is used.
"""

import dataclasses
import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from igan_tf.errors import ConfigError, DataError, InputError, counted
from igan_tf.files import StrPath, disk, durable, json_files
from igan_tf.files.digests import open_file_digest
from igan_tf.images.reading import available_processors
from igan_tf.records.settings import ConversionSettings
from igan_tf.settings import MANY, schemas_of

MANIFEST_NAME = "manifest.json"
UNFINISHED_NAME = "unfinished"
# 1: before transparency was laid over a background; its sets are read, and neither continued nor mended.
FORMAT = 2

# Of the files that describe a set, or a part of it.
MOST_BYTES = 2**26
_COUNT = json_files.whole(0, MANY)
# What the first version did not have.
_LATER_SETTINGS = ("fit", "background", "max_megapixels")
SOURCE_SCHEMA = json_files.record(
    {"kind": json_files.TEXT, "images": json_files.whole(1, MANY), "digest": json_files.SHA256}
)
SHARD_SCHEMA = json_files.record(
    {
        "name": json_files.matching(r"train-\d{5}-of-\d{5}\.tfrecord"),
        "records": _COUNT,
        "bytes": json_files.WHOLE,
        "sha256": json_files.SHA256,
    }
)
_OF_ANY_VERSION = json_files.record({"format": json_files.whole(1, MANY)}, others=True)

_COMMAND = "python -m igan_tf.data.imagenet_records"
_AGAIN = f"Remove {{}} and run the converter ({_COMMAND}) again."
_MOST_SHOWN = 10
_TOO_MANY_OPEN = "too many open files"


def settings_schema(version: int) -> json_files.Schema:
    """The schema of the `ConversionSettings` of a format."""
    schemas = schemas_of(ConversionSettings)
    later = {name: schemas.pop(name) for name in _LATER_SETTINGS} if version < FORMAT else {}
    return json_files.record(schemas, later)


def _schema(version: int) -> json_files.Schema:
    return json_files.record(
        {
            "format": json_files.one_of(version),
            "images": json_files.whole(1, MANY),
            "settings": settings_schema(version),
            "source": SOURCE_SCHEMA,
            "unreadable": _COUNT,
            "class_names": json_files.listing(json_files.TEXT, least=1),
            "shards": json_files.listing(SHARD_SCHEMA, least=1),
            "digest": json_files.SHA256,
        }
    )


def shard_name(number: int, count: int) -> str:
    """What shard `number` of `count` is called."""
    return f"train-{number:05d}-of-{count:05d}.tfrecord"


def places_of(number: int, count: int, images: int) -> range:
    """The places in the order of all images that shard `number` of `count` holds."""
    return range(number * images // count, (number + 1) * images // count)


T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Shard:
    """A file of records: its name, how many records, its size in bytes, its SHA-256."""

    name: str
    records: int
    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The description of a set of records.

    Attributes:
        images: How many there are.
        settings: The `ConversionSettings` as a dict.
        source: The source's kind, the number of its images and the digest of its list of images.
        unreadable: How many images of the source were left out.
        class_names: A label is a place in it.
        shards: The files.
        format: Of this description, and of how images were read.
    """

    images: int
    settings: dict[str, Any]
    source: dict[str, Any]
    unreadable: int
    class_names: tuple[str, ...]
    shards: tuple[Shard, ...]
    format: int = FORMAT

    @property
    def digest(self) -> str:
        """SHA-256 of all attributes: equal where settings, classes and every byte of the shards are equal."""
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode()).hexdigest()

    def write(self, folder: StrPath) -> None:
        """Writes `manifest.json` into `folder`."""
        content = {**self._content(), "digest": self.digest}
        durable.write_text(Path(folder) / MANIFEST_NAME, json.dumps(content, indent=1, sort_keys=True) + "\n")

    def open_shards(self, folder: StrPath) -> list[BinaryIO]:
        """Opens every shard in `folder`, and compares what it then holds with what was written.

        Raises:
            DataError: that names each that is missing, empty, cut, altered or exchanged, and says how to mend it; or
                where this process may not open so many files.
        """
        files, found = self._checked(folder, lambda file: file)
        if found:
            for file in files:
                file.close()
            if _TOO_MANY_OPEN in found.values():
                raise DataError(
                    f"{folder}: {counted(len(self.shards), 'shard')} must be open at once, more files than this "
                    "process may open: raise its limit, `ulimit -n`"
                )
            shown = [f"{name}: {fault}" for name, fault in found.items()]
            if len(shown) > _MOST_SHOWN:
                shown = [*shown[:_MOST_SHOWN], f"and {len(shown) - _MOST_SHOWN} more"]
            raise DataError(
                f"{folder}: {len(found)} of {counted(len(self.shards), 'shard')} not as written:\n  "
                + "\n  ".join(shown)
                + f"\nThe converter ({_COMMAND}) with the same arguments as before writes them anew."
            )
        return files

    def faults(self, folder: StrPath) -> dict[str, str]:
        """Describes the shards in `folder` that are not as they were written, by name."""
        return self._checked(folder, lambda file: file.close())[1]

    def _checked(self, folder: StrPath, then: Callable[[BinaryIO], T]) -> tuple[list[T], dict[str, str]]:
        """What `then` makes of each whole shard, open, and what is wrong with the others; read in parallel."""

        def check(shard: Shard) -> tuple[list[T], str]:
            try:
                # Never what lies elsewhere.
                file = disk.open_file(Path(folder) / shard.name, follow=False)
            except FileNotFoundError:
                return [], "missing"
            except disk.UnusableFile:
                return [], "no regular file of this folder"
            except OSError as error:
                return [], _TOO_MANY_OPEN if error.errno == errno.EMFILE else f"cannot be read: {error.strerror}"
            if fault := self._fault(file, shard):
                file.close()
                return [], fault
            return [then(file)], ""

        with ThreadPoolExecutor(available_processors()) as pool:
            checked = list(pool.map(check, self.shards))
        faults = {shard.name: fault for shard, (_, fault) in zip(self.shards, checked) if fault}
        return [made for several, _ in checked for made in several], faults

    def _fault(self, file: BinaryIO, shard: Shard) -> str:
        try:
            size = os.fstat(file.fileno()).st_size
            if size != shard.bytes:
                if not size:
                    return f"empty, instead of {shard.bytes} bytes"
                what = "cut" if size < shard.bytes else "too long"
                return f"{what}: {size} bytes instead of {shard.bytes}" + self._is_another(file, shard)
            if _digest(file) != shard.sha256:
                return "altered: its SHA-256 is another" + self._is_another(file, shard)
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        return ""

    def _is_another(self, file: BinaryIO, shard: Shard) -> str:
        digest = _digest(file)
        names = [other.name for other in self.shards if other.sha256 == digest and other != shard]
        return f"; it holds what belongs in {names[0]}" if names else ""

    def _content(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def _digest(file: BinaryIO) -> str:
    file.seek(0)
    return open_file_digest(file)


def read_manifest(folder: StrPath) -> Manifest:
    """Reads the manifest of a set of records, and not its shards.

    Raises:
        DataError: where there is no such folder, no finished set in it, or a damaged manifest; it says what to run.
    """
    folder = Path(folder)
    path = folder / MANIFEST_NAME
    to_convert = f"To make one, run:\n  {_COMMAND} --source=<class folders, tar or tfds:name> --output_dir={folder}"
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder of image records: there is no such folder. {to_convert}")
    try:
        content = json_files.read(path, _OF_ANY_VERSION, MOST_BYTES)
    except FileNotFoundError:
        if (folder / UNFINISHED_NAME).is_dir():
            raise DataError(
                f"{folder} holds a conversion to image records that is not finished. The converter ({_COMMAND}) with "
                "the same arguments as before continues it."
            ) from None
        if next(folder.glob("*tfrecord*"), None):
            raise DataError(
                f"{folder} holds TFRecords without a {MANIFEST_NAME}: another program's. {to_convert}"
            ) from None
        raise DataError(f"{folder} is no folder of image records: it has no {MANIFEST_NAME}. {to_convert}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    except InputError as error:
        raise DataError(f"{error}. {_AGAIN.format(folder)}") from error
    return _checked(content, path)


def _checked(content: dict[str, Any], path: Path) -> Manifest:
    """The manifest of the content of a file, where it describes a set that the converter can have made."""
    if content["format"] > FORMAT:
        raise DataError(f"{path} has format {content['format']}; this version of igan_tf reads formats up to {FORMAT}")
    again = _AGAIN.format(path.parent)
    try:
        json_files.check(content, _schema(content["format"]), path)
    except json_files.DamagedFile as error:
        raise DataError(f"{error}. {again}") from error
    digest = content.pop("digest")
    content["class_names"] = tuple(content["class_names"])
    content["shards"] = tuple(Shard(**shard) for shard in content["shards"])
    manifest = Manifest(**content)
    if manifest.digest != digest:
        raise DataError(f"{path} is damaged: it does not have its own digest. {again}")
    if problem := next(_contradictions(manifest), None):
        raise DataError(f"{path} is damaged: {problem}. {again}")
    return manifest


def _contradictions(manifest: Manifest) -> Iterator[str]:
    """What in a manifest contradicts something else in it."""
    try:
        settings = ConversionSettings(**manifest.settings)
    except ConfigError as error:
        yield str(error)
        return
    count, total = len(manifest.shards), manifest.source["images"]
    if settings.num_shards != count:
        yield f"it has {counted(count, 'shard')} instead of {settings.num_shards}"
    if sum(shard.records for shard in manifest.shards) != manifest.images:
        yield f"its shards do not hold {counted(manifest.images, 'image')}"
    if manifest.images + manifest.unreadable != total:
        images = counted(manifest.images, "image")
        yield f"{images} and {manifest.unreadable} unreadable are not the {total} of its source"
    for number, shard in enumerate(manifest.shards):
        if shard.name != shard_name(number, count):
            yield f"shard {number} is called {shard.name}"
        if shard.records > len(places_of(number, count, total)):
            yield f"{shard.name} holds more records than its part of {counted(total, 'image')}"
        if shard.bytes > shard.records * settings.most_record_bytes:
            yield f"{shard.name} has more bytes than its records can"
