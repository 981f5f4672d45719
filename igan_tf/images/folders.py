"""Finds the images in a folder: what counts as one, and what is left out."""

from __future__ import annotations

import collections
import dataclasses
import errno
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from igan_tf.errors import DataError
from igan_tf.files import StrPath

# The formats that are read, by Pillow's names: how their files begin, and the suffixes that say so. A file of another
# content with one of these suffixes is a damaged image; with another suffix, or none, it is no image.
FORMATS: dict[str, tuple[bytes, str]] = {
    "JPEG": (rb"\xff\xd8\xff", "jpg jpeg jpe jfif"),
    "MPO": (rb"\xff\xd8\xff", "mpo"),
    "PNG": (rb"\x89PNG\r\n\x1a\n", "png"),
    "GIF": (rb"GIF8[79]a", "gif"),
    # "BM", then the size of one of the headers that there are: text may begin so, too.
    "BMP": (rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", "bmp"),
    "WEBP": (rb"RIFF....WEBP", "webp"),
    "TIFF": (rb"II[*+]\0|MM\0[*+]", "tif tiff"),
    "PPM": (rb"P[1-6][\s#]", "ppm pgm pbm pnm"),
    "JPEG2000": (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "jp2 j2k jpx"),
    "AVIF": (rb"....ftyp(?:avif|avis|mif1|msf1)", "avif"),
}
_SIGNATURES = re.compile(b"|".join(signature for signature, _ in FORMATS.values()), re.DOTALL)
_SUFFIXES = frozenset(f".{suffix}" for _, suffixes in FORMATS.values() for suffix in suffixes.split())
SIGNATURE_BYTES = 18
# Cameras' raw files, which begin as TIFF: what would be read of them is a thumbnail.
_RAW = frozenset({".arw", ".cr2", ".dcr", ".dng", ".kdc", ".nef", ".nrw", ".pef", ".sr2", ".srf", ".srw"})
# Beside those whose names begin with a dot.
_SYSTEM_NAMES = frozenset({"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "icon\r"})
# A sampled folder's plan: the first while files are missing, then the second.
UNFINISHED_SAMPLES, FINISHED_SAMPLES = "samples.unfinished.json", "samples.json"
NO_IMAGES = "of no image format"
_MOST_NAMED = 5
_THREADS = 8
_DEEPEST = 100


class ImageFile(NamedTuple):
    """A file to be read as an image: its name from the folder on, with slashes, its path, its size in bytes."""

    name: str
    path: str
    size: int

    @property
    def parts(self) -> list[str]:
        """The folders that it lies in, and its own name."""
        return self.name.split("/")


@dataclasses.dataclass(frozen=True)
class Listing:
    """The images below a folder.

    Attributes:
        files: Sorted by folder and name.
        left_out: What else is there: a count by what it is, such as "in .ipynb_checkpoints".
    """

    files: tuple[ImageFile, ...]
    left_out: Mapping[str, int]


def list_images(folder: StrPath) -> Listing:
    """Finds the images in a folder and its subfolders, symbolic links to folders included.

    An image is a file whose content begins as one of the formats that are read, whatever its name, and any file with an
    image's suffix: if such a one is none, it is damaged. Cameras' raw files are none, though they begin as TIFF. Hidden
    files and folders, and those of operating systems, are left out.

    Raises:
        DataError: for a folder that cannot be read, for a symbolic link to a folder that it lies in, and for a folder
            of samples of which files are missing.
    """
    left_out: collections.Counter[str] = collections.Counter()
    found = list(_walk(Path(folder), "", (), left_out))
    # A thread's waiting for the disk is another's time.
    with ThreadPoolExecutor(_THREADS) as threads:
        unsaid = [file for file in found if not has_image_suffix(file.name)]
        others = [file for file, is_image in zip(unsaid, threads.map(_is_image, unsaid)) if not is_image]
    if others:
        kinds = list(dict.fromkeys(Path(file.name).suffix or Path(file.name).name for file in others))
        left_out[f"{NO_IMAGES} ({named(kinds)})"] = len(others)
    files = sorted(set(found) - set(others), key=lambda file: file.parts)
    return Listing(tuple(files), dict(left_out))


def in_words(left_out: Mapping[str, int], unreadable: int = 0) -> str:
    """What was left out: "left out: 60 in .ipynb_checkpoints, 1 that cannot be read"; empty where nothing was."""
    words = [f"{count} {what}" for what, count in left_out.items()]
    if unreadable:
        words.append(f"{unreadable} that cannot be read")
    return f"left out: {', '.join(words)}" if words else ""


def printable(name: str) -> str:
    """A file's name as text in one line, whatever bytes it has."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in name)


def begins_as_image(name: str, head: bytes) -> bool:
    """Whether a file, whose first `SIGNATURE_BYTES` are `head`, is of a format that is read."""
    return _SIGNATURES.match(head) is not None and Path(name).suffix.lower() not in _RAW


def image_files(folder: StrPath) -> list[Path]:
    """The paths of the images below a folder, none where it is no folder; see `list_images`."""
    return [] if not os.path.isdir(folder) else [Path(file.path) for file in list_images(folder).files]


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or an operating system's."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def has_image_suffix(name: str) -> bool:
    """Whether a file's name says that it is an image."""
    return os.path.splitext(name)[1].lower() in _SUFFIXES


def named(names: Sequence[str]) -> str:
    """The first few names."""
    return ", ".join([*map(printable, names[:_MOST_NAMED]), *(["..."] if len(names) > _MOST_NAMED else [])])


def _walk(
    folder: Path, prefix: str, above: tuple[tuple[int, int], ...], left_out: collections.Counter[str]
) -> Iterator[ImageFile]:
    """Yields the visible files below a folder; `above`: what identifies the folders that it lies in."""
    try:
        about = os.stat(folder)
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        identity = (about.st_dev, about.st_ino)
        if len(above) > _DEEPEST:
            raise DataError(f"the folder {printable(str(folder))[:200]}... lies more than {_DEEPEST} folders deep")
        if identity in above:
            raise DataError(
                f"the link {printable(str(folder))} leads to a folder that it lies in, {os.path.realpath(folder)}"
            )
        for entry in entries:
            name = f"{prefix}{entry.name}"
            # Of samples; not worth a word.
            if entry.name == FINISHED_SAMPLES:
                continue
            if entry.name == UNFINISHED_SAMPLES:
                raise DataError(
                    f"the folder {printable(str(folder))} is not finished: it holds {UNFINISHED_SAMPLES}; the command "
                    "that began it continues"
                )
            if is_hidden(entry.name):
                what = f"in {entry.name}" if entry.is_dir(follow_symlinks=False) else "hidden"
                if count := _count(entry):
                    left_out[printable(what)] += count
            elif _leads_nowhere(entry):
                yield ImageFile(name, entry.path, 0)
            elif entry.is_dir():
                yield from _walk(Path(entry.path), f"{name}/", (*above, identity), left_out)
            elif entry.is_file():
                yield ImageFile(name, entry.path, entry.stat().st_size)
            else:
                # Reading a pipe would wait.
                left_out["that are pipes or devices"] += 1
    except OSError as error:
        raise DataError(f"the folder {printable(str(folder))} cannot be read: {error.strerror}") from error


def _count(entry: os.DirEntry) -> int:
    """How many files there are in a folder, at any depth; 1 for a file."""
    if not entry.is_dir(follow_symlinks=False):
        return 1
    return sum(len(files) for _, _, files in os.walk(entry.path))


def _leads_nowhere(entry: os.DirEntry) -> bool:
    """Whether this is a symbolic link to what is not there."""
    if not entry.is_symlink():
        return False
    try:
        os.stat(entry.path)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DataError(f"the link {printable(entry.path)} leads to itself") from error
        return True
    return False


def _is_image(file: ImageFile) -> bool:
    try:
        with open(file.path, "rb", buffering=0) as opened:
            return begins_as_image(file.name, opened.read(SIGNATURE_BYTES))
    # To be listed among the unreadable ones.
    except OSError:
        return True
