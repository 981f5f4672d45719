"""`manifest.json`, written last, describes a whole set of records.

A folder without it is no set. Sizes and SHA-256 in it reveal each shard that is missing, cut, altered or exchanged,
before the first of them is used.
"""

import dataclasses
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from igan_tf.errors import DataError
from igan_tf.files import StrPath, durable
from igan_tf.files.damage import UNREADABLE_JSON
from igan_tf.files.digests import file_digest

MANIFEST_NAME = "manifest.json"
UNFINISHED_NAME = "unfinished"
# 1: before transparency was laid over a background; its sets are read, and neither continued nor mended.
FORMAT = 2

_COMMAND = "python -m igan_tf.data.imagenet_records"
_MOST_SHOWN = 10


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

    def check_shards(self, folder: StrPath) -> None:
        """Compares every shard in `folder` with what was written.

        Raises:
            DataError: that names each that is missing, empty, cut, altered or exchanged, and says how to mend it.
        """
        if found := self.faults(folder):
            shown = [f"{name}: {fault}" for name, fault in found.items()]
            if len(shown) > _MOST_SHOWN:
                shown = [*shown[:_MOST_SHOWN], f"and {len(shown) - _MOST_SHOWN} more"]
            raise DataError(
                f"of the {len(self.shards)} shards in {folder}, {len(found)} are not as they were written:\n  "
                + "\n  ".join(shown)
                + f"\nThe converter ({_COMMAND}) with the same arguments as before writes them anew."
            )

    def faults(self, folder: StrPath) -> dict[str, str]:
        """Describes the shards in `folder` that are not as they were written, by name; reads them in parallel."""
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            found = pool.map(lambda shard: self._fault(Path(folder) / shard.name, shard), self.shards)
            return {shard.name: fault for shard, fault in zip(self.shards, found) if fault}

    def _fault(self, path: Path, shard: Shard) -> str:
        try:
            size = path.stat().st_size
            if size != shard.bytes:
                if not size:
                    return f"empty, instead of {shard.bytes} bytes"
                what = "cut" if size < shard.bytes else "too long"
                return f"{what}: {size} bytes instead of {shard.bytes}" + self._is_another(path, shard)
            if file_digest(path) != shard.sha256:
                return "altered: its SHA-256 is another" + self._is_another(path, shard)
        except FileNotFoundError:
            return "missing"
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        return ""

    def _is_another(self, path: Path, shard: Shard) -> str:
        digest = file_digest(path)
        names = [other.name for other in self.shards if other.sha256 == digest and other != shard]
        return f"; it holds what belongs in {names[0]}" if names else ""

    def _content(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


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
        text = path.read_text(encoding="utf-8")
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
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    return _parse(text, path)


def _parse(text: str, path: Path) -> Manifest:
    again = f"Remove {path.parent} and run the converter ({_COMMAND}) again."
    try:
        content = json.loads(text)
        version, digest = content["format"], content.pop("digest")
        if version not in range(1, FORMAT + 1):
            raise DataError(f"{path} has format {version!r}; this version of igan_tf reads formats up to {FORMAT}")
        content["class_names"] = tuple(content["class_names"])
        content["shards"] = tuple(Shard(**shard) for shard in content["shards"])
        manifest = Manifest(**content)
    except DataError:
        raise
    except UNREADABLE_JSON as error:
        raise DataError(f"{path} is damaged or not this program's: {error}. {again}") from error
    if manifest.digest != digest:
        raise DataError(f"{path} is damaged: it does not have its own digest. {again}")
    return manifest
