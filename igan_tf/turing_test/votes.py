"""The answers of a study as arrays, and the counts that `statistics` works on."""

from __future__ import annotations

import dataclasses
import sqlite3

import numpy as np


@dataclasses.dataclass(frozen=True)
class Votes:
    """The answers that count, each array with one entry an answer.

    Attributes:
        annotator: Number of the annotator, from 1 on.
        feedback: Whether this annotator was told the right answers.
        position: Place among the annotator's images that count, from 0 on.
        item: Number of the image.
        source: Number of the image's source; 0 is the real one.
        generated: Whether it was generated.
        called_generated: Whether the annotator took it for generated.
        response_ms: Milliseconds from the image's appearance to the answer, by the browser's clock.
        answered_at: Seconds since 1970, by the server's clock.
    """

    annotator: np.ndarray
    feedback: np.ndarray
    position: np.ndarray
    item: np.ndarray
    source: np.ndarray
    generated: np.ndarray
    called_generated: np.ndarray
    response_ms: np.ndarray
    answered_at: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        return self.generated == self.called_generated

    def __len__(self) -> int:
        return len(self.annotator)

    def where(self, mask: np.ndarray) -> Votes:
        """The votes for which `mask` holds."""
        return Votes(*(getattr(self, field.name)[mask] for field in dataclasses.fields(self)))


def load_votes(connection: sqlite3.Connection) -> Votes:
    """The `Votes` of a study, by annotator and position."""
    rows = connection.execute(
        "SELECT a.annotator, n.feedback, a.position - (SELECT count(*) FROM trials p WHERE p.annotator = a.annotator "
        "AND p.practice), t.item, i.source, s.generated, a.choice = 'generated', a.response_ms, a.answered_at "
        "FROM answers a JOIN trials t USING (annotator, position) JOIN items i USING (item) "
        "JOIN sources s USING (source) JOIN annotators n USING (annotator) "
        "WHERE NOT t.practice ORDER BY a.annotator, a.position"
    ).fetchall()
    columns = list(zip(*rows)) or [()] * 9
    types = ("int64", "bool", "int64", "int64", "int64", "bool", "bool", "int64", "float64")
    return Votes(*(np.array(column, kind) for column, kind in zip(columns, types)))


def counts_by_annotator(votes: Votes, source: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Counts as `statistics.COLUMNS` has them.

    Args:
        votes: The `Votes`.
        source: Number of the generated source to count beside the real one; None: all of them.

    Returns:
        The annotators' numbers, ascending, and their counts `(annotators, 4)`.
    """
    if source is not None:
        votes = votes.where(~votes.generated | (votes.source == source))
    numbers, rows = np.unique(votes.annotator, return_inverse=True)
    counts = np.zeros((len(numbers), 4), "int64")
    first = np.where(votes.generated, 2, 0)
    np.add.at(counts, (rows, first), votes.correct)
    np.add.at(counts, (rows, first + 1), 1)
    return numbers, counts
