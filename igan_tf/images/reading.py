"""Reads image files by several threads, in order, and keeps account of those that cannot be read."""

from __future__ import annotations

import collections
import concurrent.futures
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from PIL import Image

from igan_tf.errors import DataError, counted
from igan_tf.images.decoding import UnreadableImage, decode, refuse_too_large
from igan_tf.images.folders import ImageFile, printable
from igan_tf.images.settings import DecodingSettings

Result = TypeVar("Result")
# Files of each thread that are read ahead.
_AHEAD = 4


def available_processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_files(
    files: Iterable[ImageFile], settings: DecodingSettings, convert: Callable[[Image.Image], Result]
) -> Iterator[Result | UnreadableImage]:
    """Reads and decodes files.

    Args:
        files: The files; no more than a few are drawn ahead.
        settings: How they are decoded.
        convert: Called with each image, of mode "L" or "RGB", in one of the threads.

    Yields:
        What `convert` returns of each, in order, or why the file cannot be read.
    """

    def read(file: ImageFile) -> Result | UnreadableImage:
        try:
            refuse_too_large(file.size, settings)
            with open(file.path, "rb", buffering=0) as opened:
                data = opened.readall()
            return convert(decode(data, settings))
        except OSError as error:
            return UnreadableImage(f"cannot be read: {error.strerror}")
        except MemoryError:
            return UnreadableImage("there is not enough memory for it")
        except UnreadableImage as error:
            return error

    count = available_processors()
    waiting: collections.deque[concurrent.futures.Future[Result | UnreadableImage]] = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(count) as threads:
        try:
            for file in files:
                waiting.append(threads.submit(read, file))
                if len(waiting) > count * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            threads.shutdown(cancel_futures=True)


def fault_of(file: ImageFile, error: UnreadableImage) -> str:
    """A line on a file that cannot be read."""
    return f"{printable(file.name)}: {error}"


def too_many(faults: int, total: int, max_unreadable: float) -> bool:
    """Whether more of `total` images are unreadable than `max_unreadable` allows; all of them always are."""
    return faults > 0 and (faults / total > max_unreadable or faults == total)


def refuse_too_many(faults: Sequence[str], total: int, max_unreadable: float, where: str) -> None:
    """Raises a DataError with the whole list where more of `total` files are unreadable than `max_unreadable` allows.

    Args:
        faults: A line on each unreadable file.
        total: How many files were read.
        max_unreadable: The part that may be unreadable.
        where: What names the folder, for the message.
    """
    if too_many(len(faults), total, max_unreadable):
        raise DataError(
            f"{where}: {len(faults)} of {counted(total, 'image')} cannot be read, more than "
            f"`max_unreadable={max_unreadable:g}` of all allows:\n  " + "\n  ".join(faults)
        )
