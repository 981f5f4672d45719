"""Which images a study has, and who sees which of them in what order."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from igan_tf.errors import counted
from igan_tf.turing_test.settings import StudyError, StudySettings

if TYPE_CHECKING:
    from igan_tf.turing_test.sources import Source


@dataclasses.dataclass(frozen=True)
class Item:
    """An image of the study: the row `row` of source number `source`; `practice` ones never count."""

    source: int
    row: int
    practice: bool


def draw_items(settings: StudySettings, sources: Sequence[Source], seed: int) -> list[Item]:
    """The images of a study, in random order, so that an item's number says nothing of what it is.

    The images to practise on are taken out of every source first.

    Args:
        settings: The `StudySettings`.
        sources: `Source`s with their images: first the real one, then the generated ones.
        seed: Of the draw; secret, for it determines what each item is.

    Returns:
        A list of `Item`s.

    Raises:
        StudyError: where a source has fewer images than one annotator must see.
    """
    generator = np.random.default_rng([seed, len(sources)])
    num_generated = len(sources) - 1
    practice = [settings.practice // 2, *_shares(settings.practice // 2, num_generated)]
    # Rounded up: any generated source may get one image more from one annotator to the next.
    needed = [settings.trials // 2] + [-(-settings.trials // 2 // num_generated)] * num_generated
    items: list[Item] = []
    for number, source in enumerate(sources):
        assert source.images is not None
        if len(source.images) < practice[number] + needed[number]:
            raise StudyError(
                f"{source.argument} must have at least {counted(practice[number] + needed[number], 'image')}: "
                f"{needed[number]} that an annotator sees of it by `trials={settings.trials}`, and "
                f"{practice[number]} to practise on by `practice={settings.practice}`. "
                f"Received: {counted(len(source.images), 'image')}"
            )
        rows = generator.permutation(len(source.images))
        items += [Item(number, int(row), place < practice[number]) for place, row in enumerate(rows)]
    return [items[place] for place in generator.permutation(len(items))]


def plan_trials(
    settings: StudySettings,
    pools: Sequence[Sequence[int]],
    times_shown: Mapping[int, int],
    generator: np.random.Generator,
) -> list[int]:
    """The images of one annotator, in order: those to practise on, then `settings.trials` that count.

    Half of each part is real. The generated half is shared out evenly among the generated sources. Within a source,
    images shown to the fewest annotators so far come first, drawn at random among equals, so that the numbers of
    annotators of any two of its images never differ by more than one.

    The order is random over the whole study and not within blocks: with feedback, whoever counts would know the last
    images of a block.

    Args:
        settings: The `StudySettings`.
        pools: For each source, real first, the item numbers that count; then, in one more list, those to practise on.
        times_shown: Dict, how many annotators have each item in their plan; items never planned may be missing.
        generator: The annotator's `numpy.random.Generator`.

    Returns:
        A list of item numbers, `settings.practice + settings.trials` long, without repetition.
    """
    *sources, practice = pools
    totals = [sum(times_shown.get(item, 0) for item in items) for items in sources[1:]]
    shares = [settings.trials // 2, *_shares(settings.trials // 2, len(sources) - 1, totals, generator)]
    chosen: list[int] = []
    for items, share in zip(sources, shares):
        shuffled = [items[place] for place in generator.permutation(len(items))]
        # A stable sort: those of equal number stay in random order.
        chosen += sorted(shuffled, key=lambda item: times_shown.get(item, 0))[:share]
    return [*_shuffled(practice, generator), *_shuffled(chosen, generator)]


def draw_feedback(settings: StudySettings, num_with: int, num_without: int, generator: np.random.Generator) -> bool:
    """Whether the next annotator gets feedback: of `both`, the condition with fewer annotators, at random if equal."""
    if settings.feedback != "both":
        return settings.feedback == "on"
    if num_with != num_without:
        return num_with < num_without
    return bool(generator.integers(2))


def _shuffled(items: Sequence[int], generator: np.random.Generator) -> list[int]:
    return [items[place] for place in generator.permutation(len(items))]


def _shares(
    count: int, parts: int, totals: Sequence[int] | None = None, generator: np.random.Generator | None = None
) -> list[int]:
    """`count` divided into `parts` integers that differ by at most one; the larger go to the smallest `totals`."""
    order = list(range(parts))
    if totals is not None:
        assert generator is not None
        order = sorted((int(place) for place in generator.permutation(parts)), key=lambda place: totals[place])
    shares = [count // parts] * parts
    for place in order[: count % parts]:
        shares[place] += 1
    return shares
