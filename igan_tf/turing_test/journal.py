"""The write-ahead log that a killed server has left beside a study's file.

SQLite takes over its transactions up to the first frame whose checksum is wrong, as if the writing had ended there: one
flipped bit, and the answers after it are gone without a word. https://sqlite.org/fileformat.html#the_write_ahead_log
"""

from __future__ import annotations

import struct
from pathlib import Path

from igan_tf.files import disk
from igan_tf.turing_test.settings import StudyError

# SQLite empties it at 4 MB, if nobody reads for long.
_MOST_BYTES = 2**30
_HEADER, _FRAME_HEADER = struct.Struct(">8I"), struct.Struct(">6I")


def check(database: Path) -> None:
    """Checks the log of a study's file that no process has open.

    Where the transaction that is damaged is the last one, a power failure may have cut it before it was acknowledged.

    Raises:
        StudyError: where a transaction is damaged that others follow.
    """
    path = database.with_name(f"{database.name}-wal")
    try:
        data = disk.read_small(path, _MOST_BYTES)
    except FileNotFoundError:
        return
    if len(data) <= _HEADER.size:
        return
    magic, _, page_size, _, *salt, _, _ = _HEADER.unpack_from(data)
    order = ">" if magic & 1 else "<"
    sums = _sums(data[: _HEADER.size - 8], (0, 0), order)
    if sums != _HEADER.unpack_from(data)[6:]:
        raise StudyError(f"{path} is damaged: its head is not as it was written")
    damaged, ended = 0, False
    for number, start in enumerate(range(_HEADER.size, len(data), _FRAME_HEADER.size + page_size), start=1):
        frame = data[start : start + _FRAME_HEADER.size + page_size].ljust(_FRAME_HEADER.size + page_size, b"\0")
        _, committed, *frame_salt, first, second = _FRAME_HEADER.unpack_from(frame)
        # Frames of another salt are of a log before, whose place this one has taken.
        ours = frame_salt == salt
        if not damaged:
            sums = _sums(frame[:8] + frame[_FRAME_HEADER.size :], sums, order)
            whole = sums == (first, second)
            damaged = 0 if whole and ours else number
            # Its sums begin with all before it, which were of this log: then it is the salt that is damaged.
            ours |= whole
        elif ended and ours:
            raise StudyError(f"{path} is damaged: frame {damaged} is not as it was written, and others follow it")
        ended |= bool(damaged and committed and ours)


def _sums(data: bytes, sums: tuple[int, int], order: str) -> tuple[int, int]:
    """SQLite's checksum of `data`, begun with that of what stands before it."""
    first, second = sums
    for one, other in struct.iter_unpack(f"{order}2I", data):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second
