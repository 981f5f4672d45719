"""Distances between all rows of a batch, per kernel, in the form that suits the device."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from igan_tf.devices import compiled_by_xla, has_gpu
from igan_tf.layers.own_gradient import own_gradient
from igan_tf.types import Tensor

# The most values that one broadcast difference of rows may have: 256 MB of float32.
BROADCAST_VALUES = 2**26


@own_gradient
def pairwise_distances(projections: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Computes the L1 distances D (N, N, B) between the rows of M (N, B, C), per kernel.

    On a CPU it loops over shifts of the batch, forward, and over its rows, backward: N*N*B and N*B*C are the largest
    sizes. On a GPU, where every turn of a loop waits for the host, and under XLA, which makes one kernel of a
    difference and its sum, it takes the differences of all pairs at once, or of as many rows as `BROADCAST_VALUES`
    allow; sums over C then have another order. A batch of unknown size is looped over everywhere.
    """
    if projections.shape[0] and (has_gpu() or compiled_by_xla()):
        return _by_broadcasting(projections)
    return _by_loops(projections)


def _by_broadcasting(projections: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """As `pairwise_distances`, in as few blocks of rows as the limit allows; no loop in the graph."""
    num_rows, num_kernels, kernel_dim = projections.shape
    size = max(1, BROADCAST_VALUES // (num_rows * num_kernels * kernel_dim))
    blocks = [slice(start, start + size) for start in range(0, num_rows, size)]

    def differences(block: slice) -> Tensor:
        return ops.expand_dims(projections[block], 1) - ops.expand_dims(projections, 0)

    distances = ops.concatenate([ops.sum(ops.abs(differences(block)), axis=3) for block in blocks], axis=0)

    def gradient(upstream: Tensor) -> Tensor:
        # Row i stands in D[i, :] and in D[:, i].
        both = ops.expand_dims(upstream + ops.transpose(upstream, (1, 0, 2)), 3)
        # The signs are taken anew: kept, they would be as large as the differences.
        return ops.concatenate(
            [ops.sum(ops.sign(differences(block)) * both[block], axis=1) for block in blocks], axis=0
        )

    return distances, gradient


def _by_loops(projections: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """As `pairwise_distances`, without a tensor larger than N*N*B or N*B*C."""
    num_kernels = projections.shape[1]
    # Kernels innermost: sums over C then add whole vectors.
    points = ops.transpose(projections, (0, 2, 1))
    num_rows = ops.shape(points)[0]
    rows = ops.arange(num_rows, dtype="int32")

    # Distances are symmetric: row i and row i + s, for s up to N/2, are all the pairs.
    def distances_to_shifted(shift: Tensor) -> Tensor:
        shifted = ops.take(points, ops.mod(rows + shift, num_rows), axis=0)
        return ops.sum(ops.abs(points - shifted), axis=1)

    # TensorFlow Lite cannot convert a loop over unknown many rows; the name stands in its error.
    with contextlib.nullcontext() if points.shape[0] else keras.name_scope("TFLite_needs_a_fixed_batch_size"):
        shifts = ops.arange(num_rows // 2 + 1, dtype="int32")
        by_shift = _one_by_one(distances_to_shifted, shifts, (points.shape[0], num_kernels), points.dtype)
    shift = ops.mod(rows - ops.expand_dims(rows, 1), num_rows)
    first = ops.where(shift <= num_rows // 2, ops.expand_dims(rows, 1), rows)
    pair = ops.minimum(shift, num_rows - shift) * num_rows + first
    distances = ops.take(ops.reshape(by_shift, (-1, num_kernels)), pair, axis=0)

    def gradient(upstream: Tensor) -> Tensor:
        # Row i stands in D[i, :] and in D[:, i].
        both = upstream + ops.transpose(upstream, (1, 0, 2))

        def gradient_to_row(row_and_upstream: tuple[Tensor, Tensor]) -> Tensor:
            row, row_upstream = row_and_upstream
            return ops.sum(ops.sign(row - points) * ops.expand_dims(row_upstream, 1), axis=0)

        return ops.transpose(_one_by_one(gradient_to_row, (points, both), points.shape[1:], points.dtype), (0, 2, 1))

    return distances, gradient


def _one_by_one(function: Callable, elements: Any, shape: Any, dtype: Any) -> Tensor:
    """`ops.map`, to results of `shape`, one turn after the other: TensorFlow would begin ten, each with its tensors."""
    if keras.backend.backend() != "tensorflow":
        return ops.map(function, elements)
    import tensorflow as tf

    result = tf.TensorSpec(shape, dtype)
    return tf.map_fn(function, elements, parallel_iterations=1, fn_output_signature=result)
