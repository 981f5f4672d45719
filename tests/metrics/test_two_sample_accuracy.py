"""The two-sample accuracy against a loop over every pair, its interval against simulated draws."""

import math

import numpy as np
import pytest

from igan_tf.errors import EvaluationError
from igan_tf.evaluation import two_sample_accuracy
from igan_tf.metrics import distances


def oracle(real, fake):
    """Of each row, whether its nearest other row is of its own set: a pair of lists."""
    rows, outcomes = [*real, *fake], []
    for i in range(len(rows)):
        nearest = [math.inf, math.inf]
        for j in range(len(rows)):
            if j != i:
                other = (i < len(real)) != (j < len(real))
                nearest[other] = min(nearest[other], sum((p - q) ** 2 for p, q in zip(rows[i], rows[j])))
        outcomes.append(0.5 if nearest[0] == nearest[1] else float(nearest[0] < nearest[1]))
    return outcomes[: len(real)], outcomes[len(real) :]


def cloud(count, seed, dimensions=3, shift=0.0, scale=1.0):
    return np.random.default_rng(seed).normal(shift, scale, (count, dimensions))


@pytest.mark.parametrize("rows", [2048, 7, 1])
@pytest.mark.parametrize("kind", ["float64", "float32", "whole numbers"])
def test_equals_the_oracle_in_blocks_of_any_size(rows, kind, monkeypatch):
    monkeypatch.setattr(distances, "_ROWS", rows)
    real, fake = cloud(20, 0), cloud(20, 1, shift=0.5)
    if kind == "float32":
        real, fake = real.astype(kind) + 1000, fake.astype(kind) + 1000
    if kind == "whole numbers":
        # Full of ties, and of copies within a set and across.
        real, fake = np.round(2 * real), np.round(2 * fake)
    found = two_sample_accuracy(real, fake, seed=None)
    expected = oracle(real.astype("float64").tolist(), fake.astype("float64").tolist())
    assert (found.of_real, found.of_generated) == tuple(map(np.mean, expected))
    assert found.accuracy == np.mean(expected[0] + expected[1]) and found.images == 20
    assert (0.5 in expected[0] + expected[1]) == (kind == "whole numbers")


def test_the_interval_is_wilsons_of_n_trials():
    found = two_sample_accuracy(cloud(50, 0), cloud(50, 1, shift=0.5))
    # Its ends are where the accuracy is 1.96 deviations of a proportion of 50 trials away.
    for end in (found.low, found.high):
        assert abs(found.accuracy - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / 50), rel=1e-6)
    assert found.low < found.accuracy < found.high


@pytest.mark.parametrize("dimensions", [1, 20])
def test_of_one_distribution_half_is_told_rightly(dimensions):
    """As often as the interval promises, and on average one neighbour fewer than half of the rows."""
    found = [two_sample_accuracy(cloud(30, 2 * s, dimensions), cloud(30, 2 * s + 1, dimensions)) for s in range(300)]
    accuracies = np.array([one.accuracy for one in found])
    assert abs(accuracies.mean() - 29 / 59) < 4 * accuracies.std() / math.sqrt(300)
    assert np.mean([one.low <= 0.5 <= one.high for one in found]) > 0.93


def test_sets_apart_are_always_told():
    found = two_sample_accuracy(cloud(40, 0), cloud(40, 1, shift=100))
    assert found.accuracy == found.of_real == found.of_generated == found.high == 1 and 0.9 < found.low < 1


def test_memorized_images_are_below_half():
    real = cloud(60, 0, 10)
    # In another order, as memory serves.
    copies = np.random.default_rng(1).permutation(real)
    assert two_sample_accuracy(real, copies).accuracy == 0
    assert two_sample_accuracy(real, copies + cloud(60, 2, 10, scale=0.1)).high < 0.5
    # One half of them copied, the other as good as real: nearest to its original is a copy, and the other way round.
    half = np.concatenate([copies[:30], cloud(30, 3, 10)])
    found = two_sample_accuracy(real, half)
    assert found.high < 0.5 and found.of_generated < 0.35


def test_a_copy_beside_a_twin_of_its_own_set_is_a_tie():
    twins = np.repeat(cloud(10, 0), 2, axis=0)
    found = two_sample_accuracy(twins, twins.copy())
    assert found.accuracy == found.of_real == found.of_generated == 0.5


def test_half_may_hide_what_the_parts_show():
    """In many dimensions a cloud inside another attracts both: told are all of its own rows and none of the other."""
    found = two_sample_accuracy(cloud(100, 0, 64), cloud(100, 1, 64, scale=0.6))
    assert found.low < 0.5 < found.high and found.of_real < 0.1 and found.of_generated > 0.9


def test_equal_numbers_are_drawn_by_the_seed():
    real, fake = cloud(50, 0), cloud(31, 1, shift=0.5)
    found = two_sample_accuracy(real, fake, images=20, seed=4)
    rows = [np.sort(np.random.default_rng([4, k]).permutation(len(s))[:20]) for k, s in enumerate((real, fake))]
    assert found == two_sample_accuracy(real[rows[0]], fake[rows[1]], seed=None) and found.images == 20
    assert found != two_sample_accuracy(real, fake, images=20, seed=5)
    assert two_sample_accuracy(real, fake).images == 31
    assert two_sample_accuracy(real, fake, 20, None) == two_sample_accuracy(real[:20], fake[:20])


def test_far_from_the_origin_nothing_is_lost():
    real, fake = cloud(40, 0), cloud(40, 1, shift=0.5)
    near = two_sample_accuracy(np.round(real, 3), np.round(fake, 3))
    assert two_sample_accuracy(np.round(real, 3) + 2**20, np.round(fake, 3) + 2**20) == near


@pytest.mark.parametrize(
    ("real", "fake", "arguments", "message"),
    [
        (np.zeros((9, 3)), np.zeros((9, 4)), {}, "`real_features` and `fake_features` must have the same number"),
        (np.zeros((9, 3)), np.full((9, 3), np.nan), {}, "`fake_features` must be finite"),
        (np.zeros((1, 3)), np.zeros((9, 3)), {}, "`real_features` must have at least 2 rows"),
        (np.zeros((9, 3)), np.zeros((9, 3)), {"images": 1}, "`images` must be .* Received: images=1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused(real, fake, arguments, message):
    with pytest.raises(EvaluationError, match=message):
        two_sample_accuracy(real, fake, **arguments)
