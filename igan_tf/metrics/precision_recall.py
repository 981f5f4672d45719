"""Precision and recall, density and coverage: fidelity and diversity apart, from neighbours in feature space."""

import numpy as np

from igan_tf.errors import EvaluationError
from igan_tf.metrics.checks import matrix, same_width, slices, whole_number

# Rows of each side of a block of distances: 2048 x 2048 float64 are 32 MB.
_ROWS = 2048


def precision_recall(real_features, fake_features, neighbours=3):
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

    Reference:
        [Kynkäänniemi et al., 2019](https://arxiv.org/abs/1904.06991), section 2.
    """
    return neighbour_scores(real_features, fake_features, neighbours, neighbours)[:2]


def density_coverage(real_features, fake_features, neighbours=5):
    """Density and coverage, which outliers among the real samples do not swell.

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

    Reference:
        [Naeem et al., 2020](https://arxiv.org/abs/2002.09797), section 3.
    """
    return neighbour_scores(real_features, fake_features, neighbours, neighbours)[2:]


def neighbour_scores(real_features, fake_features, precision_neighbours=3, density_neighbours=5):
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
    # Itself, at 0, is one more.
    real_radii, fake_radii = real_nearest[:, precision_neighbours], fake_nearest[:, precision_neighbours]
    density_radii = real_nearest[:, density_neighbours]
    fake_inside, real_inside, covered = np.zeros(len(fake), bool), np.zeros(len(real), bool), np.zeros(len(real), bool)
    pairs = 0
    for rows, columns, distances in _distance_blocks(real, fake):
        fake_inside[columns] |= (distances <= real_radii[rows, None]).any(axis=0)
        real_inside[rows] |= (distances <= fake_radii[None, columns]).any(axis=1)
        inside = distances <= density_radii[rows, None]
        pairs += int(inside.sum())
        covered[rows] |= inside.any(axis=1)
    density = pairs / (density_neighbours * len(fake))
    return float(fake_inside.mean()), float(real_inside.mean()), density, float(covered.mean())


class _Points:
    """Features seen from an origin amid the real ones, where products lose fewer digits; float64 block by block."""

    def __init__(self, features, origin):
        self._features, self._origin = features, origin

    def __len__(self):
        return len(self._features)

    def __getitem__(self, rows):
        return np.asarray(self._features[rows], "float64") - self._origin


def _checked(real_features, fake_features, *neighbours):
    """Both sets as `_Points`."""
    neighbours = max(whole_number(number, "neighbours", low=1) for number in neighbours)
    real, fake = matrix(real_features, "real_features"), matrix(fake_features, "fake_features")
    same_width(real, fake, "real_features", "fake_features")
    fewest = min(len(real), len(fake))
    if fewest <= neighbours:
        raise EvaluationError(
            f"`neighbours` must be less than the number of samples of either set, {fewest}. "
            f"Received: neighbours={neighbours}"
        )
    origin = real.mean(axis=0, dtype="float64")
    return _Points(real, origin), _Points(fake, origin)


def _nearest(features, neighbours):
    """Squared distances of each row to itself and its `neighbours` nearest others, in rising order."""
    nearest = np.full((len(features), neighbours + 1), np.inf)

    def take_up(rows, distances):
        candidates = np.concatenate([nearest[rows], distances], axis=1)
        nearest[rows] = np.partition(candidates, neighbours, axis=1)[:, : neighbours + 1]

    for rows, columns, distances in _distance_blocks(features, features, upper=True):
        take_up(rows, distances)
        if columns != rows:
            take_up(columns, distances.T)
    return np.sort(nearest, axis=1)


def _distance_blocks(a, b, upper=False):
    """Yields (rows of a, rows of b, squared distances of these) block by block, `|x|^2 + |y|^2 - 2 x^T y`.

    `upper`: without the blocks below the diagonal, which are the others transposed where `a` is `b`.
    """
    for rows in slices(len(a), _ROWS):
        some_a = a[rows]
        squares_a = np.einsum("ij,ij->i", some_a, some_a)
        for columns in slices(len(b), _ROWS):
            if upper and columns.start < rows.start:
                continue
            some_b = b[columns]
            distances = some_a @ some_b.T
            distances *= -2
            distances += squares_a[:, None]
            distances += np.einsum("ij,ij->i", some_b, some_b)[None]
            # A point and its copy: the three terms need not cancel to the last bit.
            yield rows, columns, np.maximum(distances, 0, out=distances)
