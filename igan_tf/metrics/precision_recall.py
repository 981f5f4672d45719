"""Precision and recall, density and coverage: fidelity and diversity apart, from neighbours in feature space."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from igan_tf.errors import EvaluationError
from igan_tf.metrics.checks import drawn, matrix, same_width, whole_number
from igan_tf.metrics.distances import Points, distance_blocks
from igan_tf.metrics.registry import ClassifiedSet, Metric, MetricOptions, Needs, register
from igan_tf.settings import MANY, setting

# k of the papers.
_PRECISION_NEIGHBOURS = 3
_DENSITY_NEIGHBOURS = 5


def precision_recall(
    real_features: ArrayLike, fake_features: ArrayLike, neighbours: int = _PRECISION_NEIGHBOURS
) -> tuple[float, float]:
    """Precision and recall for generated samples.

    With `r_k(x)` the distance of `x` to its k-th nearest neighbour in its own set, itself not counted:

    `precision` = part of the fake samples within `r_k(x)` of some real `x`;
    `recall` = part of the real samples within `r_k(y)` of some fake `y`.

    Args:
        real_features, fake_features: `(N, D)` and `(M, D)` features of one extractor.
        neighbours: k.

    Returns:
        (precision, recall), each in [0, 1].

    Raises:
        EvaluationError: for NaN, a wrong shape, different dimensions, as few samples as neighbours.

    Example:
        >>> precision_recall([[0.0], [1.0], [2.0]], [[0.5], [9.0], [9.5]], neighbours=1)
        (0.3333333333333333, 1.0)

    Reference:
        [Kynkäänniemi et al., 2019](https://arxiv.org/abs/1904.06991), section 2.
    """
    return neighbour_scores(real_features, fake_features, neighbours, neighbours)[:2]


def density_coverage(
    real_features: ArrayLike, fake_features: ArrayLike, neighbours: int = _DENSITY_NEIGHBOURS
) -> tuple[float, float]:
    """Density and coverage, which outliers among the real samples do not inflate.

    With `r_k(x)` as for `precision_recall`, of real samples alone:

    `density` = `1/(k M) sum_{fake y} #{real x: |x - y| <= r_k(x)}`, which may exceed 1;
    `coverage` = part of the real samples `x` with some fake sample within `r_k(x)`.

    Args:
        real_features, fake_features: `(N, D)` and `(M, D)` features of one extractor.
        neighbours: k.

    Returns:
        (density, coverage).

    Raises:
        EvaluationError: as of `precision_recall`.

    Example:
        >>> density_coverage([[0.0], [1.0], [2.0]], [[0.5], [9.0], [9.5]], neighbours=1)
        (0.6666666666666666, 0.6666666666666666)

    Reference:
        [Naeem et al., 2020](https://arxiv.org/abs/2002.09797), section 3.
    """
    return neighbour_scores(real_features, fake_features, neighbours, neighbours)[2:]


def neighbour_scores(
    real_features: ArrayLike,
    fake_features: ArrayLike,
    precision_neighbours: int = _PRECISION_NEIGHBOURS,
    density_neighbours: int = _DENSITY_NEIGHBOURS,
) -> tuple[float, float, float, float]:
    """`precision_recall` and `density_coverage` in the time of one: every distance serves both.

    Args:
        real_features, fake_features: `(N, D)` and `(M, D)` features of one extractor.
        precision_neighbours, density_neighbours: k of either.

    Returns:
        (precision, recall, density, coverage).

    Raises:
        EvaluationError: as of `precision_recall`.
    """
    real, fake = _checked(real_features, fake_features, precision_neighbours, density_neighbours)
    real_nearest = _nearest(real, max(precision_neighbours, density_neighbours))
    fake_nearest = _nearest(fake, precision_neighbours)
    # The first is the row itself, at 0.
    real_radii, fake_radii = real_nearest[:, precision_neighbours], fake_nearest[:, precision_neighbours]
    density_radii = real_nearest[:, density_neighbours]
    fake_inside, real_inside, covered = np.zeros(len(fake), bool), np.zeros(len(real), bool), np.zeros(len(real), bool)
    pairs = 0
    for rows, columns, distances in distance_blocks(real, fake):
        fake_inside[columns] |= (distances <= real_radii[rows, None]).any(axis=0)
        real_inside[rows] |= (distances <= fake_radii[None, columns]).any(axis=1)
        inside = distances <= density_radii[rows, None]
        pairs += int(inside.sum())
        covered[rows] |= inside.any(axis=1)
    density = pairs / (density_neighbours * len(fake))
    return float(fake_inside.mean()), float(real_inside.mean()), density, float(covered.mean())


def _checked(real_features: ArrayLike, fake_features: ArrayLike, *neighbours: int) -> tuple[Points, Points]:
    """Both sets as `Points`."""
    most = max(whole_number(number, "neighbours", low=1) for number in neighbours)
    real, fake = matrix(real_features, "real_features"), matrix(fake_features, "fake_features")
    same_width(real, fake, "real_features", "fake_features")
    fewest = min(len(real), len(fake))
    if fewest <= most:
        raise EvaluationError(
            f"`neighbours` must be less than the number of samples of either set, {fewest}. Received: neighbours={most}"
        )
    origin = real.mean(axis=0, dtype="float64")
    return Points(real, origin), Points(fake, origin)


def _nearest(features: Points, neighbours: int) -> np.ndarray:
    """Squared distances of each row to itself and its `neighbours` nearest others, in rising order."""
    nearest = np.full((len(features), neighbours + 1), np.inf)

    def take_up(rows: slice, distances: np.ndarray) -> None:
        candidates = np.concatenate([nearest[rows], distances], axis=1)
        nearest[rows] = np.partition(candidates, neighbours, axis=1)[:, : neighbours + 1]

    for rows, columns, distances in distance_blocks(features, features, upper=True):
        take_up(rows, distances)
        if columns != rows:
            take_up(columns, distances.T)
    return np.sort(nearest, axis=1)


@dataclasses.dataclass(frozen=True)
class _Options(MetricOptions):
    neighbour_samples: int = setting(
        10000,
        "Images of each set, at most, that precision, recall, density and coverage compare.",
        low=_DENSITY_NEIGHBOURS + 1,
        high=MANY,
    )


@register
class _NeighbourScores(Metric):
    names = ("precision", "recall", "density", "coverage")
    needs = Needs.FEATURES
    Options = _Options
    fewest_because = f"{_DENSITY_NEIGHBOURS} of them neighbours of another"

    def fewest(self, most: int, options: Any) -> int:
        return _DENSITY_NEIGHBOURS + 1

    def record(self, generated: ClassifiedSet, real: ClassifiedSet, options: Any, seed: int | None) -> dict[str, Any]:
        chosen = [drawn(images.features, options.neighbour_samples, seed) for images in (real, generated)]
        values = neighbour_scores(chosen[0], chosen[1])
        neighbours = 2 * [_PRECISION_NEIGHBOURS] + 2 * [_DENSITY_NEIGHBOURS]
        sizes = {"real": len(chosen[0]), "generated": len(chosen[1])}
        return {
            name: {"value": value, "neighbours": number, **sizes}
            for name, value, number in zip(self.names, values, neighbours)
        }
