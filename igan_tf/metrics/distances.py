"""Euclidean distances between two sets of features, block by block: all pairs would not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from igan_tf.metrics.checks import slices

# Rows of each side of a block of distances: 2048 x 2048 float64 are 32 MB.
_ROWS = 2048


class Points:
    """Features seen from an origin amid them, where products lose fewer digits; float64 block by block.

    Args:
        features: `(N, D)`.
        origin: `(D,)`, the same for all sets that are compared.
    """

    def __init__(self, features: np.ndarray, origin: np.ndarray):
        self._features, self._origin = features, origin

    def __len__(self) -> int:
        return len(self._features)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        return np.asarray(self._features[rows], "float64") - self._origin


def distance_blocks(a: Points, b: Points, upper: bool = False) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Yields (rows of a, rows of b, their squared distances) block by block, `|x|^2 + |y|^2 - 2 x^T y`.

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
