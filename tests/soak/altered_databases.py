"""Studies whose file has been altered: flipped bits, a cut, parts exchanged, rows edited, and what a kill has left."""

from __future__ import annotations

import contextlib
import functools
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from igan_tf.errors import InputError
from igan_tf.turing_test import contents
from igan_tf.turing_test.storage import FILE, Storage
from tests.soak import Soak
from tests.turing_test.served import TABLES, everything, make_study

_PAGE = 4096
# What somebody else's program might put in the place of a value.
_FOREIGN = (None, -1, 0, 1, 2**63 - 1, 0.5, "", "real", "x" * 5000, "\x00", "<script>", b"", b"\x89PNG", b"\xff" * 3000)


def _flips(path: Path, generator: np.random.Generator, count: int) -> None:
    data = np.frombuffer(path.read_bytes(), "uint8").copy()
    for place in generator.integers(len(data), size=count):
        data[place] ^= 1 << int(generator.integers(8))
    path.write_bytes(data.tobytes())


def _cut(path: Path, generator: np.random.Generator) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(generator.integers(len(data)))])


def _exchanged_pages(path: Path, generator: np.random.Generator) -> None:
    data = path.read_bytes()
    pages = [data[start : start + _PAGE] for start in range(0, len(data), _PAGE)]
    one, other = generator.choice(len(pages), 2, replace=False)
    pages[one], pages[other] = pages[other], pages[one]
    path.write_bytes(b"".join(pages))


def _run_of_zeros(path: Path, generator: np.random.Generator) -> None:
    data = bytearray(path.read_bytes())
    start, length = int(generator.integers(len(data))), int(generator.integers(1, 2000))
    data[start : start + length] = bytes(len(data[start : start + length]))
    path.write_bytes(data)


def _edit(path: Path, generator: np.random.Generator, kind: str) -> None:
    """One edit by SQL; what the file's own triggers and checks would refuse is written past them."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        while not _edited(connection, generator, kind):
            pass
        for _, sql in triggers:
            connection.execute(sql)
        connection.commit()


def _edited(connection: sqlite3.Connection, generator: np.random.Generator, kind: str) -> bool:
    """Tries one edit; whether the tables' types and keys allowed it."""
    table = str(generator.choice(TABLES))
    rows = connection.execute(f"SELECT * FROM {table}").fetchall()
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    where = " AND ".join(f"{name} = ?" for name in names)
    row = rows[int(generator.integers(len(rows)))]
    column = int(generator.integers(len(names)))
    with contextlib.suppress(sqlite3.IntegrityError):
        if kind == "foreign value":
            value = _FOREIGN[int(generator.integers(len(_FOREIGN)))]
            connection.execute(f"UPDATE {table} SET {names[column]} = ? WHERE {where}", (value, *row))
        elif kind == "value of another row":
            value = rows[int(generator.integers(len(rows)))][column]
            connection.execute(f"UPDATE {table} SET {names[column]} = ? WHERE {where}", (value, *row))
        elif kind == "row gone":
            # The last may be one that was never written.
            if row == rows[-1] or (table == "answers" and not _is_followed(rows, row)):
                return False
            connection.execute(f"DELETE FROM {table} WHERE {where}", row)
        else:
            other = rows[int(generator.integers(len(rows)))]
            connection.execute(f"DELETE FROM {table} WHERE {where}", row)
            connection.execute(f"DELETE FROM {table} WHERE {where}", other)
            keys = 2 if table in ("trials", "answers") else 1
            marks = ", ".join("?" * len(names))
            for key, rest in ((row, other), (other, row)):
                connection.execute(f"INSERT INTO {table} VALUES ({marks})", (*key[:keys], *rest[keys:]))
        return connection.execute(f"SELECT * FROM {table}").fetchall() != rows
    return False


def _is_followed(rows: list[tuple], row: tuple) -> bool:
    return any(other[:2] == (row[0], row[1] + 1) for other in rows)


ALTERATIONS = {
    "one flipped bit": functools.partial(_flips, count=1),
    "five flipped bits": functools.partial(_flips, count=5),
    "a hundred flipped bits": functools.partial(_flips, count=100),
    "cut": _cut,
    "exchanged pages": _exchanged_pages,
    "a run of zeros": _run_of_zeros,
    **{
        kind: functools.partial(_edit, kind=kind)
        for kind in ("foreign value", "value of another row", "row gone", "exchanged rows")
    },
}


def _make(folder: Path) -> list:
    """A study under way; returns what it holds."""
    make_study(folder, generated=("gan", "other"), feedback="both")
    storage = Storage(folder, serve=True)
    for number in range(4):
        annotator = storage.enrol(f"form {number}").result()
        for token in storage.tokens(annotator, 0, 3 * number + 1):
            storage.answer(annotator, token, "real", 10 + number).result()
    storage.close()
    storage = Storage(folder)
    held = everything(storage)
    storage.close()
    return held


def run(numbers: Iterable[int], folder: Path) -> Iterator[tuple[int, str]]:
    held = _make(folder / "original")
    for number in numbers:
        study = folder / str(number)
        shutil.copytree(folder / "original", study)
        kind = list(ALTERATIONS)[number % len(ALTERATIONS)]
        ALTERATIONS[kind](study / FILE, np.random.default_rng([number, 17]))
        yield number, _outcome(study, held)
        shutil.rmtree(study)


def _outcome(study: Path, held: list) -> str:
    try:
        storage = Storage(study)
    except InputError as error:
        message = str(error)
        assert message.isprintable() and str(study / FILE) in message, message
        named = any(f"table {table}" in message for table in contents.KEYS)
        return "refused by table" if named else "refused"
    try:
        assert everything(storage) == held, "it was served with other contents"
    finally:
        storage.close()
    return "unused bytes"


SOAK = Soak(
    about="A study's file is altered: it is refused in one sentence, or what it holds is the same.",
    count=200,
    run=run,
)
