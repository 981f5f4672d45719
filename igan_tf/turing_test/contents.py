"""What a study's file holds: rows with a checksum each, and the check that all of it is as it was written.

SQLite notices damage to what holds its pages together, not to what stands in them: five flipped bits may make another
image, another answer or another setting. So each row has a CRC-32C of its own. It says nothing of intent: whoever can
write the file can compute it.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import google_crc32c

from igan_tf.errors import prefixed
from igan_tf.files import json_files
from igan_tf.turing_test.encoding import png_head
from igan_tf.turing_test.settings import SOURCE_NAME, StudyError, StudySettings

# "igtt", and the version of `schema.sql`.
APPLICATION_ID = 0x69677474
VERSION = 2
# Without checksums. Such a study is served and reported on as it is, with all the other checks, rather than brought up
# to date: the file that somebody's answers are in is not rewritten, and an older version can go on with it.
WITHOUT_CHECKSUMS = 1

# Each table's key, which is its first columns, and the least value of the last of them, which counts up without a gap.
KEYS = {
    "study": (("name",), None),
    "sources": (("source",), 0),
    "items": (("item",), 1),
    "annotators": (("annotator",), 1),
    "trials": (("annotator", "position"), 0),
    "answers": (("annotator", "position"), 0),
}

_SIDE = json_files.whole(1, 2**15)
_SECRET = json_files.matching("[A-Za-z0-9_-]{22}")
# What `study` holds. What a setting may be is stated once, in `StudySettings`.
_FACTS = json_files.record(
    {
        "settings": json_files.record({}, {field.name: json_files.ANYTHING for field in fields(StudySettings)}),
        "seed": json_files.whole(0, 2**64 - 1),
        "created_at": json_files.NUMBER,
        "study_token": _SECRET,
        "results_token": _SECRET,
        "form_secret": _SECRET,
        "image_shape": {
            **json_files.listing(json_files.ANYTHING, 3, 3),
            "prefixItems": [_SIDE, _SIDE, json_files.one_of(1, 3)],
        },
    }
)


def schema(version: int = VERSION) -> str:
    """The SQL that makes the tables of a version."""
    text = (Path(__file__).parent / "schema.sql").read_text(encoding="utf-8")
    return re.sub(r",\s*crc INTEGER NOT NULL", "", text) if version == WITHOUT_CHECKSUMS else text


def checksum(table: str, row: Sequence[Any]) -> int:
    """CRC-32C of the JSON of a row and its table's name, in which an image stands as its own CRC-32C."""
    values = [google_crc32c.value(value) if isinstance(value, bytes) else value for value in row]
    return google_crc32c.value(json.dumps([table, *values]).encode())


def insert(connection: sqlite3.Connection, version: int, table: str, rows: Iterable[Sequence[Any]]) -> None:
    """Writes rows, with their checksums where the version has them."""
    for row in rows:
        # As SQLite gives them back.
        values = [int(value) if isinstance(value, bool) else value for value in row]
        if version != WITHOUT_CHECKSUMS:
            values.append(checksum(table, values))
        connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)


def check(connection: sqlite3.Connection, path: Path) -> tuple[int, dict[str, Any]]:
    """Checks everything that a study's file holds.

    Args:
        connection: Reads the file.
        path: Its name, for the message.

    Returns:
        The file's version, and the facts of `study`; "settings" are `StudySettings`.

    Raises:
        StudyError: for the file of another program or version, and for a damaged one; the message names the table and
            the row where the damage is in one.
    """
    (application,), (version,) = (
        connection.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
    )
    if application != APPLICATION_ID or version not in (WITHOUT_CHECKSUMS, VERSION):
        raise StudyError(f"{path} is not a study of this version. Received: id {application}, version {version}")
    if _tables(connection) != _expected_tables(version):
        raise StudyError(f"{path} is damaged: its tables are not those of a study of version {version}")
    for table in KEYS:
        _check_rows(connection, path, version, table)
    facts = _facts(connection, path)
    _check_structure(connection, path, facts)
    return version, facts


def _tables(connection: sqlite3.Connection) -> list[tuple[str, ...]]:
    return connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name").fetchall()


def _expected_tables(version: int) -> list[tuple[str, ...]]:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(schema(version))
        return _tables(connection)


def _check_rows(connection: sqlite3.Connection, path: Path, version: int, table: str) -> None:
    """Checks each row's checksum, and that none is missing between two others."""
    columns, start = KEYS[table]
    key: tuple[Any, ...] = ()
    try:
        # Whatever bytes stand where there was text: they are another text.
        connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
        for row in connection.execute(f"SELECT * FROM {table}"):
            before, key = key, row[: len(columns)]
            if start is not None and key[-1] != (following := _following(before, key, start)):
                problem = f"{columns[-1]} {following} is missing before it"
            elif version != WITHOUT_CHECKSUMS and checksum(table, row[:-1]) != row[-1]:
                problem = "it is not as it was written"
            else:
                continue
            raise StudyError(f"{path} is damaged: table {table}, {_named(columns, key)}: {problem}")
    except sqlite3.DatabaseError as error:
        place = f"after {_named(columns, key)}" if key else "first row"
        raise StudyError(f"{path} cannot be used: table {table}, {place}: {in_a_line(error)}") from error
    finally:
        connection.text_factory = str


def _following(before: tuple[Any, ...], key: tuple[Any, ...], start: int) -> int:
    """What the last part of `key` must be after the row of the key `before`."""
    return before[-1] + 1 if before and before[:-1] == key[:-1] else start


def _named(columns: Sequence[str], key: Sequence[Any]) -> str:
    return ", ".join(f"{column} {value!a}" for column, value in zip(columns, key))


def _facts(connection: sqlite3.Connection, path: Path) -> dict[str, Any]:
    """The facts of `study`, each of its type and within its bounds."""
    where = f"{path}, table study"
    facts = {
        name: json_files.parse(value, json_files.ANYTHING, f"{where}, name {name!r}")
        for name, value in connection.execute("SELECT name, value FROM study")
    }
    json_files.check(facts, _FACTS, where)
    with prefixed(f"{where} is damaged"):
        return {**facts, "settings": StudySettings(**facts["settings"])}


def _check_structure(connection: sqlite3.Connection, path: Path, facts: dict[str, Any]) -> None:
    """Checks what rows say of one another, and what SQLite can tell of its pages and indexes."""
    settings, head = facts["settings"], png_head(facts["image_shape"])
    for problem, query, values in (
        (
            "table items, item {}: it is no PNG file of the study's size",
            # Stored, not compressed: a short file that asks for gigabytes is somebody else's.
            "SELECT item FROM items WHERE substr(image, 1, length(?)) != ? OR length(image) < ?",
            (head, head, math.prod(facts["image_shape"])),
        ),
        (
            "table trials, annotator {}: they are not those of the study's settings",
            "SELECT annotator FROM annotators LEFT JOIN trials USING (annotator) GROUP BY annotator "
            "HAVING count(*) != ? OR sum(practice) != ?",
            (settings.practice + settings.trials, settings.practice),
        ),
        ("a row of table {}, number {}, refers to a row of table {} that is missing", "PRAGMA foreign_key_check", ()),
    ):
        if found := connection.execute(query, values).fetchone():
            raise StudyError(f"{path} is damaged: {problem.format(*found)}")
    for source, name in connection.execute("SELECT source, name FROM sources"):
        if not SOURCE_NAME.fullmatch(name):
            raise StudyError(f"{path} is damaged: table sources, source {source}: {name!a} is no name of a source")
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise StudyError(f"{path} is damaged: {in_a_line(found)}")


def in_a_line(message: object) -> str:
    """A message of SQLite's, which may quote lines of SQL, damaged or not."""
    text = " ".join(str(message).split())
    return text if text.isprintable() else ascii(text)
