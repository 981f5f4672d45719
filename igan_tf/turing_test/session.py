"""What an annotator's browser is told: where it stands, which image comes, and of past ones what the study allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from igan_tf.turing_test.storage import Annotator, Recorded, Storage


def state(storage: Storage, annotator: Annotator) -> dict[str, Any]:
    """Where an annotator stands, ready for JSON.

    Nothing in it depends on what the present or a later image is. What past ones were is in it only with feedback, or
    when all are answered.

    Returns:
        A dict with
        `phase`: "practice", "trial" or "done"; `number`, `total`: of this image within its phase, from 1 on;
        `answered`, `all`: answers given and to give, practice included;
        `trial`: token of the image to judge, or None; `next`: token of the image to load ahead, or None;
        `pause`: None, or between two blocks a dict with `kind` ("practice" or "block"), `block`, `blocks`, and with
        feedback `right`, `of` (this block's) and `all_right`, `all_of` (all blocks' so far);
        `result`: None, or at the end a dict with `right` and `of`.
    """
    settings = storage.settings
    everything = settings.practice + settings.trials
    position = storage.position(annotator)
    counted = position - settings.practice
    tokens = [*storage.tokens(annotator, position, 2), None, None]
    described = {
        "phase": "practice" if counted < 0 else "trial" if position < everything else "done",
        "number": position + 1 if counted < 0 else min(counted + 1, settings.trials),
        "total": settings.practice if counted < 0 else settings.trials,
        "answered": position,
        "all": everything,
        "trial": tokens[0],
        "next": tokens[1],
        "pause": _pause(storage, annotator, counted),
        "result": None,
    }
    if described["phase"] == "done":
        described["result"] = {
            "right": storage.correct(annotator, settings.practice, everything),
            "of": settings.trials,
        }
    return described


def _pause(storage: Storage, annotator: Annotator, counted: int) -> dict[str, Any] | None:
    """What there is to say before the image at hand: after practice, and between two blocks."""
    settings = storage.settings
    if counted == 0 and settings.practice:
        pause = {"kind": "practice", "block": 0, "blocks": settings.num_blocks}
        start = 0
    elif 0 < counted < settings.trials and counted % settings.block_size == 0:
        pause = {"kind": "block", "block": counted // settings.block_size, "blocks": settings.num_blocks}
        start = settings.practice + counted - settings.block_size
    else:
        return None
    if annotator.feedback:
        stop = settings.practice + counted
        pause["right"], pause["of"] = storage.correct(annotator, start, stop), stop - start
        pause["all_right"], pause["all_of"] = storage.correct(annotator, settings.practice, stop), counted
    return pause


def outcome(storage: Storage, annotator: Annotator, recorded: Recorded) -> dict[str, Any]:
    """What the browser is told of an answer: the one that stands, the truth if there is feedback, and the new state."""
    feedback = {"truth": recorded.truth, "right": recorded.choice == recorded.truth} if annotator.feedback else None
    return {"choice": recorded.choice, "feedback": feedback, "state": state(storage, annotator)}
