"""Writes shards, each from its image files to one durable file: the work of the converter's processes."""

import contextlib
import dataclasses
import hashlib
import io
import json
import multiprocessing
import os
import signal
import threading
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path

from igan_tf.errors import counted
from igan_tf.files import durable, json_files, locks
from igan_tf.files.digests import file_digest
from igan_tf.images.decoding import UnreadableImage, decode, fitted
from igan_tf.memory import keep_freed_memory
from igan_tf.records import sources
from igan_tf.records.entries import Entry
from igan_tf.records.example import encode_image
from igan_tf.records.manifest import MOST_BYTES, SHARD_SCHEMA, Shard
from igan_tf.records.settings import ConversionSettings
from igan_tf.records.tfrecords import frame

_REPORT_SCHEMA = json_files.record(
    {
        "shard": SHARD_SCHEMA,
        "unreadable": json_files.listing(json_files.listing(json_files.TEXT, least=2, most=2)),
        "unread": json_files.FLAG,
    }
)


class ShardError(Exception):
    """A shard cannot be written."""


class Stopped(Exception):
    """The conversion ends before this shard is finished."""


@dataclasses.dataclass(frozen=True)
class ShardTask:
    """A shard to write.

    Attributes:
        path: Where it goes.
        report_path: Where its `ShardReport` goes once the shard is finished.
        entries: Its images, in order.
        example_keys, num_classes: The source's.
        settings: The `ConversionSettings`.
    """

    path: Path
    report_path: Path
    entries: tuple[Entry, ...]
    example_keys: tuple[str, ...]
    num_classes: int
    settings: ConversionSettings


@dataclasses.dataclass(frozen=True)
class ShardReport:
    """What became of a shard.

    Attributes:
        shard: The `Shard`, as in the manifest.
        unreadable: Pairs of name and reason of the images left out.
        unread: Whether a file could not be read, or not held in memory, which may pass: the shard is then written anew.
    """

    shard: Shard
    unreadable: tuple[tuple[str, str], ...]
    unread: bool


# Shared with the main process: the number of images done, and whether to stop.
_progress: Synchronized | None = None
_stop: Event | None = None
# Holds this process's lock.
_held = contextlib.ExitStack()


def start_process(progress: Synchronized, stop: Event, lock_path: Path) -> None:
    """Prepares a process for `write_shard`.

    Args:
        progress: A shared integer that counts images.
        stop: A shared event: shards are given up when it is set.
        lock_path: The file that this process locks, shared with its siblings, as long as it lives.
    """
    global _progress, _stop
    _progress, _stop = progress, stop
    _held.enter_context(locks.held(lock_path, RuntimeError(f"{lock_path} is locked by another converter"), shared=True))
    # Ctrl-C reaches every process of the terminal; the main one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)


def finished_report(task: ShardTask) -> ShardReport | None:
    """Reads the report of a shard that an earlier process finished; None unless the shard is still whole.

    Raises:
        DamagedFile: for a report that is damaged, or of no such shard.
    """
    try:
        content = json_files.read(task.report_path, _REPORT_SCHEMA, MOST_BYTES)
    except OSError:
        return None
    report = ShardReport(Shard(**content["shard"]), tuple(map(tuple, content["unreadable"])), content["unread"])
    shard, left_out = report.shard, {name for name, _ in report.unreadable}
    whole = shard.records + len(report.unreadable) == len(task.entries)
    if shard.name != task.path.name or not whole or not left_out <= {entry.name for entry in task.entries}:
        raise json_files.DamagedFile(f"{task.report_path} is damaged: it is of another shard")
    try:
        same = os.path.getsize(task.path) == shard.bytes and file_digest(task.path) == shard.sha256
    except OSError:
        return None
    return report if same and not report.unread else None


def write_shard(task: ShardTask) -> ShardReport:
    """Converts the images of a task and writes its shard, then its report.

    Raises:
        ShardError: where the disk is full or fails.
        Stopped: where the main process says so; nothing is left.
    """
    try:
        report = _write_shard(task)
        durable.write_text(task.report_path, json.dumps(dataclasses.asdict(report)))
    except OSError as error:
        raise ShardError(f"{task.path.name} cannot be written: {error.strerror or error}") from error
    return report


def _write_shard(task: ShardTask) -> ShardReport:
    digest, size, records = hashlib.sha256(), 0, 0
    unreadable, unread = [], False
    with durable.durable_file(task.path) as file:
        for entry in task.entries:
            if _stop is not None and _stop.is_set():
                raise Stopped
            try:
                framed = frame(_example(entry, task))
            except UnreadableImage as error:
                unreadable.append((entry.name, str(error)))
            except (_UnreadFile, MemoryError) as error:
                few = "there is not enough memory for it"
                unreadable.append((entry.name, few if isinstance(error, MemoryError) else str(error)))
                unread = True
            else:
                file.write(framed)
                digest.update(framed)
                size += len(framed)
                records += 1
            _count_one()
    return ShardReport(Shard(task.path.name, records, size, digest.hexdigest()), tuple(unreadable), unread)


class _UnreadFile(Exception):
    """An image's file cannot be read."""


def _example(entry: Entry, task: ShardTask) -> bytes:
    """Serializes one image as it goes into the shard."""
    try:
        data, label = sources.read_entry(entry, task.example_keys, task.settings)
    except OSError as error:
        # Not taken for an error of the output, and without this machine's path.
        raise _UnreadFile(f"cannot be read: {error.strerror}") from error
    if not 0 <= label < task.num_classes:
        raise UnreadableImage(f"its label {label} is none of the {counted(task.num_classes, 'class')}")
    size = task.settings.image_size
    return encode_image(convert_image(data, task.settings), task.settings.encoding, size, size, label)


def convert_image(data: bytes, settings: ConversionSettings) -> bytes:
    """Decodes one image, brings it to its size and encodes it.

    Args:
        data: The bytes of an image file.
        settings: How.

    Returns:
        `image_size * image_size * 3` bytes by rows, or a JPEG file at full colour resolution (4:4:4).

    Raises:
        UnreadableImage: with the reason.
    """
    size = (settings.image_size, settings.image_size)
    # An image that is grey has equal levels whether it becomes RGB before or after it is resized.
    image = fitted(decode(data, settings), size, settings).convert("RGB")
    if settings.encoding == "raw":
        return image.tobytes()
    buffer = io.BytesIO()
    # Pillow would take the comment of the file along.
    image.save(buffer, "JPEG", quality=settings.jpeg_quality, subsampling=0, comment=b"")
    return buffer.getvalue()


def _count_one() -> None:
    if _progress is not None:
        with _progress.get_lock():
            _progress.value += 1
