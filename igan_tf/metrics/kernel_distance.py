"""The kernel distance of features (KID with Inception's)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from igan_tf.errors import EvaluationError
from igan_tf.metrics.checks import matrix, order, same_width, whole_number
from igan_tf.metrics.registry import ClassifiedSet, Metric, MetricOptions, Needs, register
from igan_tf.settings import MANY, setting


def _number_of_blocks(sizes: Iterable[int], block_size: int) -> int:
    """How many blocks two sets of these sizes are cut into; each set needs two rows for each of them."""
    return -(-max(sizes) // block_size)


def kernel_distance(
    features_a: ArrayLike, features_b: ArrayLike, block_size: int = 1024, seed: int | None = 0
) -> tuple[float, float]:
    """Kernel distance: the squared maximum mean discrepancy under `k(x, y) = (x^T y / D + 1)^3`.

    Each set is permuted and cut into `B = ceil(max(N, M) / block_size)` blocks of nearly equal size. In a block of
    `n` rows `x` and `m` rows `y`, without bias,

    `d = 1/(n(n-1)) sum_{i!=j} k(x_i, x_j) + 1/(m(m-1)) sum_{i!=j} k(y_i, y_j) - 2/(nm) sum_ij k(x_i, y_j)`

    The figure is the mean over blocks. Only a block of each set is ever in float64.

    Args:
        features_a, features_b: `(N, D)` and `(M, D)` features of one extractor.
        block_size: Most rows of a set in a block. Every sample is used once.
        seed: Of both permutations; None keeps the order, which then must be random already.

    Returns:
        (distance, standard error): mean over the blocks, and their deviation (`ddof=1`) over `sqrt(B)`, NaN for one
        block. The distance has no bias, so that it may be negative.

    Raises:
        EvaluationError: for NaN, a wrong shape, different dimensions, blocks of fewer than two rows.

    Example:
        >>> kernel_distance([[1.0], [1.0]], [[0.0], [0.0]])
        (7.0, nan)

    Reference:
        [Bińkowski et al., 2018](https://arxiv.org/abs/1801.01401), section 3; blocks as in
        [Zaremba et al., 2013](https://arxiv.org/abs/1307.1954).
    """
    features_a, features_b = matrix(features_a, "features_a", rows=2), matrix(features_b, "features_b", rows=2)
    same_width(features_a, features_b)
    block_size = whole_number(block_size, "block_size", low=2)
    sizes = len(features_a), len(features_b)
    count = _number_of_blocks(sizes, block_size)
    if min(sizes) < 2 * count:
        raise EvaluationError(
            f"`block_size` makes {count} blocks, which need 2 rows each of both sets, of {sizes[0]} and {sizes[1]} "
            f"rows. Received: block_size={block_size}"
        )
    # Two permutations: by one, an image and its altered copy in the other set would always share a block.
    blocks_a, blocks_b = (_near_equal(order(size, seed, stream), count) for stream, size in enumerate(sizes))
    distances = [
        _block_distance(np.asarray(features_a[rows_a], "float64"), np.asarray(features_b[rows_b], "float64"))
        for rows_a, rows_b in zip(blocks_a, blocks_b)
    ]
    error = np.std(distances, ddof=1) / np.sqrt(count) if count > 1 else np.nan
    return float(np.mean(distances)), float(error)


def _near_equal(rows: np.ndarray, count: int) -> list[np.ndarray]:
    """`count` consecutive parts, the longer ones last, as TF-GAN cuts them."""
    size, longer = divmod(len(rows), count)
    return np.split(rows, np.cumsum([size] * (count - longer) + [size + 1] * longer)[:-1])


def _block_distance(x: np.ndarray, y: np.ndarray) -> float:
    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def mean_of_pairs(values: np.ndarray) -> float:
        return (values.sum() - np.trace(values)) / (len(values) * (len(values) - 1))

    return mean_of_pairs(kernel(x, x)) + mean_of_pairs(kernel(y, y)) - 2 * kernel(x, y).mean()


@dataclasses.dataclass(frozen=True)
class _Options(MetricOptions):
    kernel_block_size: int = setting(1024, "Images in a block of the kernel distance, KID.", low=2, high=MANY)


@register
class _KernelDistance(Metric):
    names = ("kernel_distance",)
    needs = Needs.FEATURES
    Options = _Options
    curves: ClassVar = {"kernel_distance": ("kernel_distance", "mean")}
    fewest_because = "2 for each block of `kernel_block_size`; of fewer samples there are fewer blocks"

    def fewest(self, most: int, options: Any) -> int:
        return 2 * _number_of_blocks([most], options.kernel_block_size)

    def record(self, generated: ClassifiedSet, real: ClassifiedSet, options: Any, seed: int | None) -> dict[str, Any]:
        mean, error = kernel_distance(generated.features, real.features, options.kernel_block_size, seed)
        return {
            "kernel_distance": {
                "mean": mean,
                # One block has no error, and JSON no NaN.
                "standard_error": None if np.isnan(error) else error,
                "block_size": options.kernel_block_size,
                "seed": seed,
            }
        }
