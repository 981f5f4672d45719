"""The study's one file, SQLite: an answer is acknowledged when it is on the disk, once, and for good."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import sqlite3
import time
from concurrent.futures import Future
from pathlib import Path

import numpy as np

from igan_tf.files import StrPath, locks
from igan_tf.turing_test import contents, design, journal
from igan_tf.turing_test.settings import StudyError, StudySettings
from igan_tf.turing_test.writer import Writer

FILE = "study.sqlite3"
# How long to wait for another program that holds a lock on the file; a change may wait twice, for those before it, too.
_LOCK_SECONDS = 0.7


class UnknownTrial(LookupError):
    """No trial of this annotator has the token."""


class OutOfOrder(LookupError):
    """The trial is one of the annotator's, but not yet the one to answer."""


@dataclasses.dataclass(frozen=True)
class Annotator:
    """Who answers: a number, the form, the secret of the cookie and that of the link to come back, the condition."""

    number: int
    enrolment: str
    session: str
    resume: str
    feedback: bool


@dataclasses.dataclass(frozen=True)
class Recorded:
    """An answer as it stands, which is the first one given, and what the image was."""

    position: int
    choice: str
    truth: str


def new_secret() -> str:
    """128 random bits for a link, a cookie or a trial."""
    return secrets.token_urlsafe(16)


def open_file(path: StrPath) -> sqlite3.Connection:
    """A connection to a study's file whose commits are on the disk when they return. It changes nothing by itself."""
    # Autocommit: transactions begin and end where the code says so.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_LOCK_SECONDS)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


class Storage:
    """An open study.

    Reading is done on the caller's thread, by one connection; changing by a `Writer`'s. One server at a time may serve
    a study; reports may be drawn up meanwhile.

    Args:
        study_dir: The study directory.
        serve: Whether to make changes, which needs the study's lock.

    Raises:
        StudyError, DamagedFile: for a folder without a study, a damaged or foreign file, or a study that is being
            served.
    """

    def __init__(self, study_dir: StrPath, serve: bool = False) -> None:
        self.study_dir = Path(study_dir)
        path = self.study_dir / FILE
        if not path.is_file():
            raise StudyError(f"`study_dir={study_dir}` holds no study: {FILE} is missing")
        if path.is_symlink():
            raise StudyError(f"{path} is a symbolic link: a study lies in its own folder")
        with contextlib.ExitStack() as opened:
            refusal = StudyError(f"`study_dir={study_dir}` is being served by another process")
            # A report holds it for a moment: a server may start beside it.
            patience = _LOCK_SECONDS if serve else 0
            lock = locks.held(self.study_dir / locks.LOCK_NAME, refusal, patience=patience)
            try:
                with contextlib.ExitStack() as for_the_check:
                    (opened if serve else for_the_check).enter_context(lock)
                    journal.check(path)
            except OSError as error:
                raise StudyError(f"`study_dir={study_dir}` cannot be written: {error}") from error
            except StudyError as error:
                # What is being served has been checked by its server.
                if serve or error is not refusal:
                    raise
            try:
                self._reader = opened.enter_context(contextlib.closing(open_file(path)))
                # Another process may be serving the study: all that is read here is of one moment.
                self._reader.execute("BEGIN")
                self.version, facts = contents.check(self._reader, path)
                # (name, generated, place, number of images that count), real first.
                self.sources: list[tuple[str, int, str, int]] = self._reader.execute(
                    "SELECT name, generated, place, (SELECT count(*) FROM items i WHERE i.source = s.source AND NOT "
                    "practice) FROM sources s ORDER BY source"
                ).fetchall()
                self._pools = _pools(self._reader, len(self.sources))
                self._reader.execute("COMMIT")
                # Stays in the file, which is a study's: another program's is left as it is.
                self._reader.execute("PRAGMA journal_mode = WAL")
                self._reader.execute("PRAGMA query_only = ON")
                self._writer = opened.enter_context(contextlib.closing(Writer(open_file(path)))) if serve else None
            # A UnicodeDecodeError is of a message that quotes damaged bytes.
            except (sqlite3.Error, UnicodeDecodeError) as error:
                raise StudyError(f"{path} cannot be used: {contents.in_a_line(error)}") from error
            self._opened = opened.pop_all()
        self.settings: StudySettings = facts["settings"]
        self.seed = facts["seed"]
        self.study_token = facts["study_token"]
        self.results_token = facts["results_token"]
        self.form_secret = facts["form_secret"]
        self.created_at = facts["created_at"]
        self.height, self.width, self.channels = facts["image_shape"]

    def close(self) -> None:
        """Finishes the changes that wait, closes the file and frees the lock."""
        self._opened.close()

    def connect(self) -> sqlite3.Connection:
        """A connection of its own for one more thread, to read and to close."""
        connection = open_file(self.study_dir / FILE)
        connection.execute("PRAGMA query_only = ON")
        return connection

    def num_answers(self) -> int:
        """Of all annotators, practice included."""
        return self._reader.execute("SELECT count(*) FROM answers").fetchone()[0]

    def num_annotators(self) -> int:
        return self._reader.execute("SELECT count(*) FROM annotators").fetchone()[0]

    def item_image(self, item: int) -> bytes:
        """The PNG file of an item."""
        with contextlib.closing(self.connect()) as connection:
            return connection.execute("SELECT image FROM items WHERE item = ?", (item,)).fetchone()[0]

    # Annotators.

    def annotator(self, session: str) -> Annotator | None:
        """The `Annotator` whose cookie holds `session`, or None."""
        return _annotator(self._reader, "session", session)

    def resumed(self, resume: str) -> Annotator | None:
        """The `Annotator` whose link to come back holds `resume`, or None."""
        return _annotator(self._reader, "resume", resume)

    def enrol(self, enrolment: str) -> Future[Annotator]:
        """A future of the `Annotator` whom the form number `enrolment` enrols: always the same one."""
        assert self._writer is not None
        return self._writer.submit(lambda connection: self._enrol(connection, enrolment))

    def _enrol(self, connection: sqlite3.Connection, enrolment: str) -> Annotator:
        if known := _annotator(connection, "enrolment", enrolment):
            return known
        (number,) = connection.execute("SELECT coalesce(max(annotator), 0) + 1 FROM annotators").fetchone()
        generator = np.random.default_rng([self.seed, number, 1])
        conditions = dict(connection.execute("SELECT feedback, count(*) FROM annotators GROUP BY feedback"))
        feedback = design.draw_feedback(self.settings, conditions.get(1, 0), conditions.get(0, 0), generator)
        annotator = Annotator(number, enrolment, new_secret(), new_secret(), feedback)
        row = (*dataclasses.astuple(annotator), time.time())
        contents.insert(connection, self.version, "annotators", [row])
        times_shown = dict(connection.execute("SELECT item, count(*) FROM trials GROUP BY item"))
        plan = design.plan_trials(self.settings, self._pools, times_shown, generator)
        trials = [
            (number, position, new_secret(), item, position < self.settings.practice)
            for position, item in enumerate(plan)
        ]
        contents.insert(connection, self.version, "trials", trials)
        return annotator

    # Trials.

    def position(self, annotator: Annotator) -> int:
        """How many trials the annotator has answered, which is the position of the next one."""
        return _position(self._reader, annotator.number)

    def tokens(self, annotator: Annotator, position: int, count: int) -> list[str]:
        """The tokens of the annotator's trials from `position` on, `count` of them or as many as there are."""
        rows = self._reader.execute(
            "SELECT token FROM trials WHERE annotator = ? AND position >= ? ORDER BY position LIMIT ?",
            (annotator.number, position, count),
        )
        return [token for (token,) in rows]

    def image(self, annotator: Annotator, token: str) -> bytes | None:
        """The PNG file of one of the annotator's trials, up to the one after the next to answer; else None."""
        row = self._reader.execute(
            "SELECT t.position, i.image FROM trials t JOIN items i USING (item) WHERE t.token = ? AND t.annotator = ?",
            (token, annotator.number),
        ).fetchone()
        if row is None or row[0] > self.position(annotator) + 1:
            return None
        return row[1]

    def correct(self, annotator: Annotator, start: int, stop: int) -> int:
        """How many of the answers at positions `start` to `stop` - 1 are right."""
        return self._reader.execute(
            "SELECT count(*) FROM answers a JOIN trials t USING (annotator, position) JOIN items i USING (item) "
            "JOIN sources s USING (source) WHERE a.annotator = ? AND a.position >= ? AND a.position < ? "
            "AND (a.choice = 'generated') = s.generated",
            (annotator.number, start, stop),
        ).fetchone()[0]

    def answer(self, annotator: Annotator, token: str, choice: str, response_ms: int) -> Future[Recorded]:
        """Records an answer. A future of the `Recorded` one, set when it is on the disk.

        A trial that is answered already keeps its answer, and that one is what the future holds.

        Raises (the future does):
            UnknownTrial: for a token of no trial of this annotator.
            OutOfOrder: for a trial whose turn has not come.
        """
        assert self._writer is not None
        return self._writer.submit(
            lambda connection: self._answer(connection, annotator.number, token, choice, response_ms)
        )

    def _answer(
        self, connection: sqlite3.Connection, number: int, token: str, choice: str, response_ms: int
    ) -> Recorded:
        row = connection.execute(
            "SELECT t.position, s.generated FROM trials t JOIN items i USING (item) JOIN sources s USING (source) "
            "WHERE t.token = ? AND t.annotator = ?",
            (token, number),
        ).fetchone()
        if row is None:
            raise UnknownTrial(token)
        position, generated = row
        to_answer = _position(connection, number)
        if position > to_answer:
            raise OutOfOrder(token)
        if position == to_answer:
            row = (number, position, choice, response_ms, time.time())
            contents.insert(connection, self.version, "answers", [row])
        (stands,) = connection.execute(
            "SELECT choice FROM answers WHERE annotator = ? AND position = ?", (number, position)
        ).fetchone()
        return Recorded(position, stands, "generated" if generated else "real")


def _pools(connection: sqlite3.Connection, num_sources: int) -> list[list[int]]:
    """Items that count, a list a source, and a last list of those to practise on."""
    rows = connection.execute("SELECT source, practice, item FROM items ORDER BY item").fetchall()
    pools = [[item for at, practice, item in rows if at == source and not practice] for source in range(num_sources)]
    return [*pools, [item for _, practice, item in rows if practice]]


def _annotator(connection: sqlite3.Connection, column: str, value: str) -> Annotator | None:
    row = connection.execute(
        f"SELECT annotator, enrolment, session, resume, feedback FROM annotators WHERE {column} = ?", (value,)
    ).fetchone()
    return row and Annotator(row[0], row[1], row[2], row[3], bool(row[4]))


def _position(connection: sqlite3.Connection, number: int) -> int:
    return connection.execute(
        "SELECT coalesce(max(position) + 1, 0) FROM answers WHERE annotator = ?", (number,)
    ).fetchone()[0]
