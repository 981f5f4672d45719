"""Writes the TFRecord file format without TensorFlow, and finds and reads single records.

A record is its length (8 bytes, little endian), the length's checksum (4), the data, the data's checksum (4); a
checksum is a masked CRC-32C. A file is such records one after another and nothing else: one that is cut between two
records looks whole, which the manifest's counts and digests reveal.
"""

import itertools
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

import google_crc32c

from igan_tf.files import StrPath, disk

_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
# What stands around the data of a record.
FRAME_BYTES = _HEADER.size + _CHECKSUM.size
_MASK = 0xA282EAD8


class RecordError(ValueError):
    """A record is cut or damaged; the message says where in the file."""


class CutRecord(RecordError):
    """A file ends within a record, as where its writer died."""


class Span(NamedTuple):
    """Where the data of a record stands in a file: `length` bytes from `offset` on; and their checksum."""

    offset: int
    length: int
    checksum: int


def frame(data: bytes) -> bytes:
    """Puts length and checksums around the data of a record."""
    length = struct.pack("<Q", len(data))
    return b"".join((length, _checksum(length), data, _checksum(data)))


def record_spans(path: StrPath) -> list[Span]:
    """Finds the records of a file without reading them.

    Raises:
        RecordError: for a damaged length; CutRecord for a file that ends within a record.
        OSError: where it cannot be read.
    """
    with disk.open_file(path) as file:
        return list(spans_of(file.fileno()))


def spans_of(descriptor: int) -> Iterator[Span]:
    """Finds the records of an open file one after the other: see `record_spans`."""
    size, offset = os.fstat(descriptor).st_size, 0
    for number in itertools.count():
        if offset >= size:
            return
        header = disk.read_at(descriptor, _HEADER.size, offset)
        if len(header) < _HEADER.size:
            raise CutRecord(f"record {number} is cut at byte {size}")
        length, checksum = _HEADER.unpack(header)
        if _checksum(header[:8]) != _CHECKSUM.pack(checksum):
            raise RecordError(f"record {number} is damaged at byte {offset}")
        offset += _HEADER.size
        after = disk.read_at(descriptor, _CHECKSUM.size, offset + length) if offset + length <= size else b""
        if len(after) < _CHECKSUM.size:
            raise CutRecord(f"record {number} is cut at byte {size}")
        yield Span(offset, length, *_CHECKSUM.unpack(after))
        offset += length + _CHECKSUM.size


def read_record(descriptor: int, offset: int, length: int, checksum: int | None = None) -> bytes:
    """Reads the data of a record.

    Args:
        descriptor: Of the open file.
        offset, length, checksum: Of its `Span`; of a checksum None, the file's is taken. With it, another whole record
            that has been put in its place is refused, too.

    Raises:
        RecordError: where the data is cut or differs from its checksum.
    """
    content = disk.read_at(descriptor, length + _CHECKSUM.size, offset)
    if len(content) < length + _CHECKSUM.size:
        raise RecordError(f"the record at byte {offset} is cut")
    data = content[:length]
    if _checksum(data) != (content[length:] if checksum is None else _CHECKSUM.pack(checksum)):
        raise RecordError(f"the record at byte {offset} is damaged")
    return data


def _checksum(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return _CHECKSUM.pack(((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF)
