"""A study's answers and report as files: CSV, JSON, PNG."""

from __future__ import annotations

import contextlib
import csv
import datetime
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from igan_tf.files import StrPath, durable
from igan_tf.turing_test import figures
from igan_tf.turing_test.report import FEEDBACK_IN_WORDS, Report, build_report
from igan_tf.turing_test.settings import CHOICES, StudyError
from igan_tf.turing_test.storage import Storage
from igan_tf.turing_test.votes import Votes, load_votes

_ANSWER_COLUMNS = (
    *("annotator", "feedback", "block", "number", "item", "source", "truth", "choice", "correct", "response_ms"),
    "answered_at",
)


def report_json(report: Report) -> str:
    return json.dumps(report, indent=2, allow_nan=False) + "\n"


def texts(storage: Storage) -> tuple[Report, dict[str, str]]:
    """The report of a study, and by name its files that are text: all of the same answers."""
    with contextlib.closing(storage.connect()) as connection:
        votes = load_votes(connection)
    report = build_report(storage, votes)
    return report, {
        "report.json": report_json(report),
        "answers.csv": answers_csv(storage, votes),
        "annotators.csv": annotators_csv(report),
    }


def answers_csv(storage: Storage, votes: Votes) -> str:
    """Every answer that counts, a line each, by annotator and position."""
    names = [name for name, *_ in storage.sources]
    rows = zip(
        votes.annotator.tolist(),
        (FEEDBACK_IN_WORDS[told] for told in votes.feedback.tolist()),
        (votes.position // storage.settings.block_size + 1).tolist(),
        (votes.position + 1).tolist(),
        votes.item.tolist(),
        (names[source] for source in votes.source),
        (CHOICES[truth] for truth in votes.generated.astype(int)),
        (CHOICES[choice] for choice in votes.called_generated.astype(int)),
        votes.correct.astype(int).tolist(),
        votes.response_ms.tolist(),
        (_time(seconds) for seconds in votes.answered_at),
    )
    return _csv(_ANSWER_COLUMNS, rows)


def annotators_csv(report: Report) -> str:
    """The report's `people`, a line each."""
    people = report["people"]
    return _csv(list(people[0]) if people else ["annotator"], (person.values() for person in people))


def report_folder(study_dir: StrPath, output: StrPath = "") -> Path:
    """Where a study's report goes: `output`, or report/ in `study_dir`, which must be no link: nobody has named it.

    Raises:
        StudyError: for a link.
    """
    folder = Path(output or Path(study_dir) / "report")
    if not output and folder.is_symlink():
        raise StudyError(f"{folder} is a symbolic link; name the report's folder by `output`")
    return folder


def write_report(storage: Storage, folder: StrPath) -> Report:
    """Writes `report.json`, `answers.csv`, `annotators.csv` and every figure as PNG into `folder`.

    Returns:
        The report.

    Raises:
        StudyError: where the folder cannot be written.
    """
    report, files = texts(storage)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            durable.write_text(folder / name, text)
        for name in figures.names(report):
            with durable.durable_file(folder / f"{name}.png") as file:
                file.write(figures.draw(name, report, storage))
    except OSError as error:
        raise StudyError(f"the report cannot be written to {folder}: {error}") from error
    return report


def _csv(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).isoformat(timespec="milliseconds")
