"""Precision, recall, density, coverage against loops over every pair, and in cases that one can see."""

import sys

import numpy as np
import pytest

from igan_tf.errors import EvaluationError
from igan_tf.evaluation import density_coverage, precision_recall


def radius(points, index, k):
    return sorted(np.linalg.norm(points[index] - other) for j, other in enumerate(points) if j != index)[k - 1]


def precision_oracle(real, fake, k):
    radii = [radius(real, index, k) for index in range(len(real))]
    return np.mean([any(np.linalg.norm(y - x) <= r for x, r in zip(real, radii)) for y in fake])


def density_coverage_oracle(real, fake, k):
    radii = [radius(real, index, k) for index in range(len(real))]
    pairs = sum(np.linalg.norm(y - x) <= r for x, r in zip(real, radii) for y in fake)
    covered = [any(np.linalg.norm(y - x) <= r for y in fake) for x, r in zip(real, radii)]
    return pairs / (k * len(fake)), np.mean(covered)


def clouds(n=40, m=33, dimensions=3, shift=0.7, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, dimensions)), rng.normal(shift, 1.3, (m, dimensions))


@pytest.mark.parametrize("neighbours", [1, 3, 7])
@pytest.mark.parametrize("rows", [2048, 8, 1])
def test_equal_the_oracles_in_blocks_of_any_size(neighbours, rows, monkeypatch):
    monkeypatch.setattr(sys.modules["igan_tf.metrics.distances"], "_ROWS", rows)
    real, fake = clouds()
    # Counts of pairs: equal to the last one.
    precision, recall = precision_recall(real, fake, neighbours)
    assert precision == precision_oracle(real, fake, neighbours)
    assert recall == precision_oracle(fake, real, neighbours)
    assert density_coverage(real, fake, neighbours) == density_coverage_oracle(real, fake, neighbours)
    assert 0 < precision < 1 or neighbours == 7


def test_far_from_the_origin_nothing_is_lost():
    real, fake = clouds()
    near = precision_recall(real, fake), density_coverage(real, fake)
    assert (precision_recall(real + 1e8, fake + 1e8), density_coverage(real + 1e8, fake + 1e8)) == near


def test_cases_that_one_can_see():
    real = np.random.default_rng(0).normal(size=(60, 2))
    assert precision_recall(real, real.copy()) == (1, 1) and density_coverage(real, real.copy())[1] == 1
    assert precision_recall(real, real + 100) == (0, 0) and density_coverage(real, real + 100) == (0, 0)
    # Samples of one mode alone: precise, but most of the real ones are out of reach.
    modes = np.vstack([real, real + 100])
    precision, recall = precision_recall(modes, real[:30] * 0.9)
    assert precision > 0.9 and recall < 0.55


def test_density_does_not_trust_an_outlier():
    """Naeem et al., figure 1: one real outlier makes a ball that holds every bad sample; precision calls them good."""
    real = np.vstack([np.random.default_rng(0).normal(size=(50, 2)) * 0.1, [[30.0, 0]]])
    fake = np.random.default_rng(1).normal(size=(50, 2)) + np.array([25, 0])
    assert precision_recall(real, fake, 5)[0] == 1
    assert density_coverage(real, fake, 5)[0] < 0.25


def test_two_samples_in_one_place_are_neighbours():
    real = np.repeat(np.arange(4.0)[:, None], 2, axis=0)
    # The nearest other one is the twin, so that every ball is a point.
    assert precision_recall(real, np.array([[0.0], [0.4], [5.0]]), 1)[0] == pytest.approx(1 / 3)


@pytest.mark.parametrize("function", [precision_recall, density_coverage])
@pytest.mark.parametrize(
    ("real", "fake", "arguments", "message"),
    [
        (np.zeros((9, 3)), np.zeros((9, 4)), {}, "`real_features` and `fake_features` must have the same number"),
        (np.zeros((9, 3)), np.full((9, 3), np.nan), {}, "`fake_features` must be finite"),
        (np.zeros((9, 3)), np.zeros((4, 3)), {"neighbours": 4}, "`neighbours` must be less than .* 4.*neighbours=4"),
        (np.zeros((9, 3)), np.zeros((9, 3)), {"neighbours": 0}, "neighbours=0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused(function, real, fake, arguments, message):
    with pytest.raises(EvaluationError, match=message):
        function(real, fake, **arguments)
