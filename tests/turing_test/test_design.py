"""Who sees what: balance, halves, and orders that tell nothing."""

import collections

import numpy as np
import pytest
from scipy import stats

from igan_tf.turing_test.design import draw_feedback, draw_items, plan_trials
from igan_tf.turing_test.settings import StudyError, StudySettings
from tests.turing_test.served import sources


def planned(settings, items, annotators, seed=0):
    """The plans of annotators who enrol one after the other, and the pools."""
    num_sources = 1 + max(item.source for item in items)
    pools = [
        [number for number, item in enumerate(items, 1) if item.source == source and not item.practice]
        for source in range(num_sources)
    ] + [[number for number, item in enumerate(items, 1) if item.practice]]
    times, plans = collections.Counter(), []
    for annotator in range(annotators):
        plans.append(plan_trials(settings, pools, times, np.random.default_rng([seed, annotator])))
        times.update(plans[-1])
    return plans, pools, times


@pytest.fixture(params=[("gan",), ("a", "b"), ("a", "b", "c")], ids=len)
def study(request):
    settings = StudySettings(trials=20, practice=4, block_size=10)
    items = draw_items(settings, sources(30, request.param), seed=1)
    return settings, items


def test_every_image_is_an_item_once(study):
    _, items = study
    num_sources = 1 + max(item.source for item in items)
    assert len(items) == len(set(items)) == 30 * num_sources
    practice = [item for item in items if item.practice]
    assert len(practice) == 4 and sum(item.source == 0 for item in practice) == 2
    assert {(item.source, item.row) for item in items} == {(s, r) for s in range(num_sources) for r in range(30)}


def test_half_are_real_and_none_comes_twice(study):
    settings, items = study
    plans, pools, _ = planned(settings, items, 12)
    for plan in plans:
        assert len(plan) == len(set(plan)) == 24
        kinds = [items[number - 1] for number in plan]
        assert all(item.practice == (place < 4) for place, item in enumerate(kinds))
        for part in (kinds[:4], kinds[4:]):
            assert sum(item.source == 0 for item in part) == len(part) // 2
        by_source = collections.Counter(item.source for item in kinds[4:])
        shares = [by_source[source] for source in range(1, len(pools) - 1)]
        assert max(shares) - min(shares) <= 1


def test_every_item_is_seen_by_equally_many_at_any_moment(study):
    settings, items = study
    for annotators in (1, 2, 3, 7, 20):
        _, pools, times = planned(settings, items, annotators)
        for pool in pools:
            counts = [times[item] for item in pool]
            assert max(counts) - min(counts) <= 1
        # The sources, too.
        totals = [sum(times[item] for item in pool) for pool in pools[1:-1]]
        assert max(totals) - min(totals) <= 1


def test_each_annotator_has_an_order_of_their_own(study):
    plans, _, _ = planned(*study, 10)
    assert len({tuple(plan) for plan in plans}) == 10
    assert planned(*study, 3)[0] == planned(*study, 3)[0] != planned(*study, 3, seed=1)[0]


def test_no_place_tells_what_stands_there():
    """At each place half of 2,000 annotators have a real image: a test of all places, passed in 999 of 1000 cases."""
    settings = StudySettings(trials=10, practice=2, block_size=5)
    items = draw_items(settings, sources(8), seed=1)
    plans, _, _ = planned(settings, items, 2000)
    real = np.array([[items[number - 1].source == 0 for number in plan] for plan in plans]).mean(axis=0)
    bound = stats.norm.isf(0.001 / 2 / 12) * 0.5 / np.sqrt(2000)
    assert np.abs(real - 0.5).max() < bound


def test_an_items_number_tells_nothing():
    items = draw_items(StudySettings(), sources(500), seed=1)
    real = np.array([item.source == 0 for item in items])
    # The mean rank of the real ones, against its exact standard deviation without order.
    ranks = np.flatnonzero(real).mean()
    deviation = np.sqrt(500 * 500 * 1001 / 12) / 500
    assert abs(ranks - 499.5) < 3.3 * deviation
    # Runs of equal neighbours: of 999 pairs half, within four standard deviations.
    assert abs((real[1:] == real[:-1]).mean() - 0.5) < 4 * 0.5 / np.sqrt(999)


@pytest.mark.parametrize(("count", "needed"), [(11, 12), (5, 12)])
def test_too_few_images_are_refused_with_the_number(count, needed):
    settings = StudySettings(trials=20, practice=4)
    message = (
        rf"`real=photographs` must have at least {needed} images: 10 .* by `trials=20`, and 2 .* by `practice=4`\. "
    )
    with pytest.raises(StudyError, match=message + f"Received: {count} images"):
        draw_items(settings, sources(count), seed=1)
    assert draw_items(settings, sources(12), seed=1)


def test_a_small_generated_source_is_named():
    real, first, _ = sources(30, ("a", "b"))
    small = sources(5, ("b",))[1]
    with pytest.raises(StudyError, match=r"`generated=b=b\.npz` must have at least"):
        draw_items(StudySettings(trials=20, practice=4), [real, first, small], seed=1)


@pytest.mark.parametrize(("feedback", "expected"), [("off", {False}), ("on", {True})])
def test_one_condition_for_all(feedback, expected):
    settings = StudySettings(feedback=feedback)
    assert {draw_feedback(settings, n, 9 - n, np.random.default_rng(n)) for n in range(10)} == expected


def test_two_conditions_are_balanced_and_not_alternating():
    settings, orders = StudySettings(feedback="both"), set()
    for seed in range(20):
        drawn = []
        for annotator in range(9):
            told = sum(drawn)
            drawn.append(draw_feedback(settings, told, len(drawn) - told, np.random.default_rng([seed, annotator])))
            assert abs(2 * sum(drawn) - len(drawn)) <= 1
        orders.add(tuple(drawn))
    assert len(orders) > 5
