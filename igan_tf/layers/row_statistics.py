"""Each example's moments over its positions, and each example's own scale and offset: shared by normalizations.

Maps are (N, P, C): examples, positions, channels. Gradients are written out, because automatic ones make several times
as many passes over a map, which take most of a normalization's time.
"""

from __future__ import annotations

import math
from typing import Any

from keras import ops

from igan_tf.layers.own_gradient import own_gradient
from igan_tf.types import Tensor

# Positions are first added up in this many parts at once: over rows of many values the sum is several times faster.
_PARTS = 64


def to_rows(x: Tensor) -> Tensor:
    """Reshapes `(N, ..., C)` to `(N, P, C)`."""
    shape = ops.shape(x)
    return ops.reshape(x, (shape[0], math.prod(shape[1:-1]), shape[-1]))


@own_gradient
def row_moments(x: Tensor) -> Any:
    """Computes mean and variance of each row over its positions: `(N, P, C)` -> `(2, N, C)`.

    One output, since PyTorch allows no more to a function with a gradient of its own. Slices of it should be few: in
    TensorFlow each, with its gradients, is a dozen operations to trace.
    """
    count = ops.cast(ops.shape(x)[1], x.dtype)
    mean = _sum_over_positions(x) / count
    # A mean of squared deviations, not of squares: a map may be far from 0.
    variance = _sum_over_positions(ops.square(x - ops.expand_dims(mean, 1))) / count

    def gradient(upstream: Tensor) -> Tensor:
        # d mean / dx = 1 / P and d variance / dx = 2 (x - mean) / P, put together as x * factor + constant.
        to_mean, to_variance = ops.unstack(upstream, num=2)
        factor = to_variance * (2.0 / count)
        constant = to_mean / count - factor * mean
        return x * ops.expand_dims(factor, 1) + ops.expand_dims(constant, 1)

    return ops.stack([mean, variance]), gradient


@own_gradient
def scale_rows(x: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """Computes `x * scale + offset`: `(N, P, C)`, `(N, C)`, `(N, C)` -> `(N, P, C)`."""
    scale_by_row = ops.expand_dims(scale, 1)

    def gradient(upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return upstream * scale_by_row, _sum_over_positions(upstream * x), _sum_over_positions(upstream)

    return x * scale_by_row + ops.expand_dims(offset, 1), gradient


def _sum_over_positions(x: Tensor) -> Tensor:
    """Sums `(N, P, C)` to `(N, C)`."""
    positions, channels = x.shape[1], x.shape[2]
    if positions == 1:
        return x[:, 0]
    if positions is None or positions % _PARTS or positions == _PARTS:
        return ops.sum(x, axis=1)
    parts = ops.sum(ops.reshape(x, (-1, _PARTS, positions // _PARTS * channels)), axis=1)
    return ops.sum(ops.reshape(parts, (-1, positions // _PARTS, channels)), axis=1)
