"""What came of a study: votes in, a report of plain dicts, lists and numbers out, ready for JSON."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from igan_tf.errors import counted
from igan_tf.turing_test import statistics
from igan_tf.turing_test.settings import StudySettings
from igan_tf.turing_test.votes import Votes, counts_by_annotator, load_votes

if TYPE_CHECKING:
    from igan_tf.turing_test.storage import Storage

# What `build_report` returns.
Report: TypeAlias = dict[str, Any]

# arXiv:1606.03498, section 6.
PAPER: tuple[dict[str, Any], ...] = (
    {"study": "MNIST, minibatch discrimination", "accuracy": 0.524, "votes": 2000},
    {"study": "CIFAR-10, all samples", "accuracy": 0.787, "votes": None},
    {"study": "CIFAR-10, best 1% by Inception Score", "accuracy": 0.714, "votes": None},
)
_STATISTICS = {
    "accuracy": statistics.accuracy,
    "generated_error": statistics.generated_error,
    "real_error": statistics.real_error,
    "d_prime": statistics.d_prime,
}
# Whether annotators were told the right answers, in words; None: those who were and those who were not.
FEEDBACK_IN_WORDS = {False: "off", True: "on", None: "both"}
MOST_MISTAKEN = 24
ALL_SOURCES = "all"


def build_report(storage: Storage, votes: Votes | None = None) -> Report:
    """The report of a study.

    Args:
        storage: The open study.
        votes: From `load_votes`; None: those of now.

    Returns:
        A dict with
        `study`: title, settings and sources; `votes`; `annotators`: how many enrolled, began and finished;
        `plan`: the votes and annotators that the wanted interval needs;
        `results`: a list, one entry for each condition and generated source, of `Estimate`s as dicts;
        `learning`: accuracy by block and condition; `response_seconds`: quartiles by condition and by right or wrong;
        `people`: a list, one entry an annotator; `mistaken`: the images most often mistaken, either way;
        `paper`: the paper's figures.
        NaN is None everywhere.
    """
    with contextlib.closing(storage.connect()) as connection:
        votes = load_votes(connection) if votes is None else votes
        (enrolled,) = connection.execute("SELECT count(*) FROM annotators").fetchone()
    sources: list[dict[str, Any]] = [
        {"name": name, "generated": bool(generated), "place": place, "images": images}
        for name, generated, place, images in storage.sources
    ]
    settings = storage.settings
    _, per_person = np.unique(votes.annotator, return_counts=True)
    report = {
        "study": {
            "title": settings.title,
            "created_at": storage.created_at,
            "settings": dataclasses.asdict(settings),
            "sources": sources,
        },
        "votes": len(votes),
        "annotators": {
            "enrolled": enrolled,
            "began": len(per_person),
            "finished": int((per_person == settings.trials).sum()),
        },
        "plan": plan(settings),
        "results": _results(votes, [source["name"] for source in sources]),
        "learning": _learning(votes, settings),
        "response_seconds": _response_seconds(votes),
        "people": _people(votes),
        "mistaken": {
            "real_called_generated": _mistaken(votes.where(~votes.generated), sources),
            "generated_called_real": _mistaken(votes.where(votes.generated), sources),
        },
        "paper": list(PAPER),
    }
    return without_nan(report)


def plan(settings: StudySettings) -> dict[str, Any]:
    """What the wanted interval needs, were all votes independent: votes, and annotators who finish."""
    # Feedback changes accuracy: each condition has an interval of its own.
    conditions = 2 if settings.feedback == "both" else 1
    votes = statistics.required_votes(settings.interval_width)
    return {
        "interval_width": settings.interval_width,
        "required_votes": conditions * votes,
        "required_annotators": conditions * math.ceil(votes / settings.trials),
    }


def plan_in_words(settings: StudySettings) -> str:
    """`plan` in one sentence, stated before the start."""
    needs = plan(settings)
    votes, annotators = (counted(needs[f"required_{noun}s"], noun, ",") for noun in ("vote", "annotator"))
    each = ", with and without feedback," if settings.feedback == "both" else ""
    return (
        f"A 95% interval of the accuracy{each} at most {settings.interval_width:g} wide needs "
        f"{votes}, {annotators} of {settings.trials} each; "
        "more if some people are better at it than others, or for one of several sources."
    )


def _conditions(votes: Votes) -> list[tuple[bool | None, Votes]]:
    """(feedback, votes) of each condition that has any; both together, as None, where there are both."""
    found: list[tuple[bool | None, Votes]] = [
        (told, votes.where(votes.feedback == told)) for told in (False, True) if (votes.feedback == told).any()
    ]
    return [*found, (None, votes)] if len(found) == 2 else found


def _results(votes: Votes, names: Sequence[str]) -> list[dict[str, Any]]:
    """Estimates for each condition and generated source.

    The accuracy over the whole mixture is the part of votes that is right, as in the paper. For one of several
    sources it is the mean of the parts right of real and of that source's images: the accuracy on a mixture half and
    half, which is what makes sources comparable.
    """
    entries = []
    for feedback, part in _conditions(votes):
        several = len(names) > 2
        for number in [None, *range(1, len(names))] if several else [None]:
            counts = counts_by_annotator(part, number)[1]
            used = dict(_STATISTICS)
            if number is not None:
                used["accuracy"] = statistics.balanced_accuracy
            entries.append(
                {
                    "feedback": feedback,
                    "source": names[number] if number else ALL_SOURCES if several else names[1],
                    "annotators": len(counts),
                    "votes": int(counts[:, [1, 3]].sum()),
                    **{
                        name: dataclasses.asdict(statistics.estimate(statistic, counts))
                        for name, statistic in used.items()
                    },
                }
            )
    return entries


def _learning(votes: Votes, settings: StudySettings) -> list[dict[str, Any]]:
    entries = []
    for feedback, part in _conditions(votes):
        if feedback is None:
            continue
        blocks = part.position // settings.block_size
        for block in np.unique(blocks):
            _, counts = counts_by_annotator(part.where(blocks == block))
            accuracy = statistics.estimate(statistics.accuracy, counts)
            entries.append(
                {
                    "feedback": feedback,
                    "block": int(block) + 1,
                    "votes": int(counts[:, [1, 3]].sum()),
                    "accuracy": dataclasses.asdict(accuracy),
                }
            )
    return entries


def _response_seconds(votes: Votes) -> list[dict[str, Any]]:
    entries = []
    for feedback, part in _conditions(votes):
        for name, chosen in (("all", part), ("right", part.where(part.correct)), ("wrong", part.where(~part.correct))):
            if len(chosen):
                low, middle, high = np.quantile(chosen.response_ms / 1000, (0.25, 0.5, 0.75)).tolist()
                entries.append(
                    {
                        "feedback": feedback,
                        "answers": name,
                        "votes": len(chosen),
                        "quarter": low,
                        "median": middle,
                        "three_quarters": high,
                    }
                )
    return entries


def _people(votes: Votes) -> list[dict[str, Any]]:
    numbers, counts = counts_by_annotator(votes)
    people = []
    for number, row in zip(numbers.tolist(), counts):
        own = votes.where(votes.annotator == number)
        correct, total = int(row[[0, 2]].sum()), int(row[[1, 3]].sum())
        low, high = statistics.wilson_interval(correct, total)
        people.append(
            {
                "annotator": number,
                "feedback": bool(own.feedback[0]),
                "votes": total,
                "right": correct,
                "accuracy": correct / total,
                "low": float(low),
                "high": float(high),
                **_with_interval("generated_error", statistics.generated_error, row),
                **_with_interval("real_error", statistics.real_error, row),
                **_with_interval("d_prime", statistics.d_prime, row),
                "median_seconds": float(np.median(own.response_ms)) / 1000,
            }
        )
    return people


def _with_interval(name: str, statistic: statistics.Statistic, row: np.ndarray) -> dict[str, float]:
    """One person's value and interval: Wilson's for parts, the votes being all there is."""
    found = statistics.estimate(statistic, row[None])
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _mistaken(votes: Votes, sources: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The images that most people were wrong about, first by the part of them and then by their number."""
    items, first, rows = np.unique(votes.item, return_index=True, return_inverse=True)
    seen = np.bincount(rows, minlength=len(items))
    wrong = np.bincount(rows, weights=~votes.correct, minlength=len(items)).astype(int)
    # By Wilson's lower limit: three of three do not come before nineteen of twenty.
    low, _ = statistics.wilson_interval(wrong, seen)
    order = [place for place in np.lexsort((items, -low)) if wrong[place]]
    return [
        {
            "item": int(items[place]),
            "source": sources[votes.source[first[place]]]["name"],
            "wrong": int(wrong[place]),
            "votes": int(seen[place]),
        }
        for place in order[:MOST_MISTAKEN]
    ]


def in_words(report: Report) -> Iterator[str]:
    """The report's main numbers as lines of text."""
    people = report["annotators"]
    votes, began = counted(report["votes"], "vote", ","), counted(people["began"], "annotator", ",")
    yield f"{report['study']['title']}: {votes} of {began}"
    yield f"  {people['enrolled']} enrolled, {people['finished']} finished"
    for entry in report["results"]:
        told = FEEDBACK_IN_WORDS[entry["feedback"]]
        votes, annotators = counted(entry["votes"], "vote", ","), counted(entry["annotators"], "annotator", ",")
        yield f"{entry['source']}, feedback {told}: {votes} of {annotators}"
        for name in _STATISTICS:
            numbers = entry[name]
            yield (
                f"  {name:16} {numbers['value']:7.3f}  95% {numbers['low']:.3f} to {numbers['high']:.3f}  "
                f"({numbers['method']})"
                if numbers["value"] is not None
                else f"  {name:16}       -"
            )
    for study in PAPER:
        yield f"paper, {study['study']}: accuracy {study['accuracy']:.3f}"


def without_nan(value: Any) -> Any:
    """`value` with None for NaN: JSON has no NaN."""
    if isinstance(value, dict):
        return {name: without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
