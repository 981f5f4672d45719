"""Checks of what the metrics are given, and the cuts and draws that they share."""

from __future__ import annotations

from typing import Any

import numpy as np

from igan_tf.errors import EvaluationError, counted

# Rows converted to float64 at a time: of 50,000 rows of 1008 logits a block of 32 MB, not all 400 MB.
ROWS_IN_BLOCK = 4096


def slices(count: int, rows: int = ROWS_IN_BLOCK) -> list[slice]:
    """The slices that cut `count` rows into blocks of `rows`."""
    return [slice(start, min(start + rows, count)) for start in range(0, count, rows)]


def are_probabilities(values: np.ndarray) -> bool:
    """Whether rows of more than one value can be probabilities: none negative, and each row's sum 1."""
    return values.shape[1] > 1 and values.min(initial=0) >= 0 and np.allclose(values.sum(axis=1), 1, atol=1e-3)


def matrix(array: Any, name: str, rows: int = 1) -> np.ndarray:
    """Returns `array` as a NumPy array `(N, D)` of finite numbers.

    Args:
        array: What the caller was given.
        name: The argument's name, for messages.
        rows: The fewest rows that it may have.

    Raises:
        EvaluationError: for another rank, other things than numbers, too few rows, NaN or infinities.
    """
    array = np.asarray(array)
    if array.ndim != 2 or not array.shape[1]:
        raise EvaluationError(f"`{name}` must have the shape (N, D). Received: {name} of shape {array.shape}")
    if array.dtype.kind not in "fiu":
        raise EvaluationError(f"`{name}` must be real numbers. Received: {name} of dtype {array.dtype}")
    if len(array) < rows:
        raise EvaluationError(
            f"`{name}` must have at least {counted(rows, 'row')}. Received: {name} of shape {array.shape}"
        )
    for rows_of_block in slices(len(array)):
        wrong = ~np.isfinite(array[rows_of_block]).all(axis=1)
        if wrong.any():
            row = rows_of_block.start + int(np.argmax(wrong))
            raise EvaluationError(f"`{name}` must be finite. Received: NaN or infinity in row {row} of {len(array)}")
    return array


def same_width(
    features_a: np.ndarray, features_b: np.ndarray, name_a: str = "features_a", name_b: str = "features_b"
) -> None:
    """Raises an EvaluationError where two sets of features differ in their number of dimensions."""
    if features_a.shape[1] != features_b.shape[1]:
        raise EvaluationError(
            f"`{name_a}` and `{name_b}` must have the same number of dimensions, of one extractor. "
            f"Received: shapes {features_a.shape} and {features_b.shape}"
        )


def mean_and_covariance(mean: Any, covariance: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns a Gaussian's two arrays as float64 `(D,)` and `(D, D)`.

    Raises:
        EvaluationError: for other shapes, NaN or infinities, a matrix that is not symmetric.
    """
    mean, covariance = np.asarray(mean), np.asarray(covariance)
    if mean.ndim != 1 or covariance.shape != 2 * mean.shape:
        raise EvaluationError(
            "`mean` and `covariance` must have the shapes (D,) and (D, D). "
            f"Received: shapes {mean.shape} and {covariance.shape}"
        )
    mean = matrix(mean[None], "mean")[0].astype("float64")
    covariance = matrix(covariance, "covariance").astype("float64")
    # Matrix products leave the two halves a few units in the last place apart.
    apart = np.abs(covariance - covariance.T).max()
    if apart > 1e-8 * np.abs(covariance).max():
        raise EvaluationError(
            f"`covariance` must be symmetric. Received: a matrix whose halves differ by up to {apart:.3g}"
        )
    return mean, covariance


def whole_number(value: Any, name: str, low: int) -> int:
    """Returns `value` as an int of at least `low`.

    Raises:
        EvaluationError: for anything else, booleans included.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < low:
        raise EvaluationError(f"`{name}` must be a whole number of at least {low}. Received: {name}={value!r}")
    return int(value)


def pixel_range(text: str) -> tuple[float, float]:
    """Parses the two numbers of `black,white`.

    Raises:
        ValueError: for anything else, or where black is not below white.
    """
    low, high = map(float, text.split(","))
    if not -np.inf < low < high < np.inf:
        raise ValueError(f"{text} is no range")
    return low, high


def drawn(features: np.ndarray, count: int, seed: int | None, stream: int = 0) -> np.ndarray:
    """`count` rows drawn by `order`, or all where there are fewer, in the order in which they stand."""
    return features[np.sort(order(len(features), seed, stream)[:count])]


def order(count: int, seed: int | None, stream: int = 0) -> np.ndarray:
    """The rows' order: a permutation drawn by `seed`, another one in each `stream`; for None as they come.

    Raises:
        EvaluationError: for a seed that is neither None nor a whole number from 0 on.
    """
    if seed is None:
        return np.arange(count)
    return np.random.default_rng([whole_number(seed, "seed", low=0), stream]).permutation(count)
