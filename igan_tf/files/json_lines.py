"""Files of JSON lines, a record each, that grow: every line ends with a checksum of itself.

A process that dies while it appends leaves a last line without an end, which does not count. Whatever else is not as it
was written is damage, and is said to be so: to leave it out would lose what stands behind it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import google_crc32c

from igan_tf.files import StrPath, disk, json_files
from igan_tf.files.json_files import DamagedFile, Schema

_KEY = "crc32c"
_CHECKED_LINE = re.compile(rf'(.*), "{_KEY}": "([0-9a-f]{{8}})"\}}')
# Of a line.
_MOST_BYTES = 2**20


def as_line(record: Mapping[str, Any]) -> str:
    """A record of one entry or more as a line: its last entry, `crc32c`, is the CRC-32C of the JSON without it."""
    text = json.dumps(record)
    return f'{text[:-1]}, "{_KEY}": "{_checksum(text)}"}}\n'


def read_lines(path: StrPath, schema: Schema) -> Iterator[dict[str, Any]]:
    """Yields the records of a file without their checksums, which early files lack; none where there is no file.

    Args:
        path: The file.
        schema: Of a record; other entries than it knows must not be text.

    Raises:
        DamagedFile: that names the first line that is not as it was written, or not of the schema.
        OSError: where the file cannot be read.
    """
    try:
        file = disk.open_file(path)
    except FileNotFoundError:
        return
    with file:
        for number, line in enumerate(iter(lambda: file.readline(_MOST_BYTES + 1), b""), start=1):
            where = f"{path}, line {number},"
            if len(line) > _MOST_BYTES:
                raise DamagedFile(f"{where} is damaged: it has more than {_MOST_BYTES} bytes")
            # What stands behind the last end of a line was cut short, unless that end alone is missing.
            if not line.endswith(b"\n") and not _split(line.decode(errors="replace"))[1]:
                return
            try:
                text, whole = _split(line.removesuffix(b"\n").decode())
            except UnicodeDecodeError as error:
                raise DamagedFile(f"{where} is damaged: {error}") from error
            if whole is False:
                raise DamagedFile(f"{where} is damaged: it does not have its own checksum")
            yield json_files.parse(text, schema, where, not_finite=True)


def _split(line: str) -> tuple[str, bool | None]:
    """The JSON of a line without its checksum, and whether that is its own; None where it has none."""
    if not (checked := _CHECKED_LINE.fullmatch(line)):
        return line, None
    text = checked[1] + "}"
    return text, _checksum(text) == checked[2]


def _checksum(text: str) -> str:
    return f"{google_crc32c.value(text.encode()):08x}"
