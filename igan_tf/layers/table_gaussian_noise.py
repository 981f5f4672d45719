"""Additive Gaussian noise from a table of normal quantiles, at a fraction of the usual cost."""

from __future__ import annotations

import functools
import math
from typing import Any

import keras
import numpy as np
from keras import ops

from igan_tf.devices import has_gpu
from igan_tf.layers.seeds import HostSeedGenerator
from igan_tf.types import Shape, Tensor

# 2^16 blocks of 16: 4 MB, which stays in a CPU's cache, and one 16-bit draw for 16 values.
_BLOCKS = 2**16
_BLOCK_SIZE = 16


@functools.cache
def _normal_blocks() -> np.ndarray:
    """The quantiles of N(0, 1) at the midpoints of 2^20 equal probabilities, shuffled once, in blocks of 16.

    Quantiles instead of draws: their mean is exactly 0 by symmetry, their distribution is within 2^-20 of the
    normal's everywhere, and the largest is 4.9.
    """
    from scipy.special import ndtri

    count = _BLOCKS * _BLOCK_SIZE
    quantiles = ndtri((np.arange(count) + 0.5) / count).astype("float32")
    return np.random.default_rng(1606_03498).permutation(quantiles).reshape(_BLOCKS, _BLOCK_SIZE)


def _table(stddev: float, dtype: str) -> Tensor:
    """The table, scaled in NumPy: a pass over the table once instead of over the noise every time."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Not in a `tf.Graph` of TensorFlow 1, which can take in no tensor from outside.
        if tf.compat.v1.executing_eagerly_outside_functions():
            return _tensorflow_table(stddev, dtype)
    return ops.convert_to_tensor(stddev * _normal_blocks(), dtype=dtype)


@functools.lru_cache(maxsize=16)
def _tensorflow_table(stddev: float, dtype: str) -> Tensor:
    """One tensor outside of all graphs, which they take in: as a constant each call would hold 4 MB of its own."""
    import tensorflow as tf

    with tf.init_scope():
        return tf.cast(tf.constant(stddev * _normal_blocks()), dtype)


@keras.saving.register_keras_serializable("igan_tf")
class TableGaussianNoise(keras.layers.Layer):
    """Adds Gaussian noise to its inputs while training, put together from a table of normals.

        y = x + stddev * n,    x, n, y (N, ...)

    n consists of blocks of 16 values, each block drawn uniformly from a fixed table of 65,536. The table holds 2^20
    quantiles of N(0, 1) in shuffled order. On a CPU this costs about a quarter of drawing as many normals, which would
    be a quarter of a whole step of the MNIST networks (`docs/results/speed.md`). `exact=True` draws every value by
    itself, where values beyond 4.9 deviations, or the independence of 16 neighbouring values, matter.

    Training and inference differ: in inference y = x. Under `tf.distribute` a Keras seed generator gives every replica
    the same noise; each draws its own where the caller sees to it, as this package's models do.

    Args:
        stddev: Standard deviation of the noise, in the input's units.
        seed: Integer, or None for one drawn by Keras (see `keras.utils.set_random_seed`).
        exact: Whether to draw each value from N(0, stddev^2) instead of from the table.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        inputs: Floating point tensor.
        training: Whether to add noise.

    Input shape: any.

    Output shape: that of the input.

    Raises:
        ValueError: for a negative `stddev`.

    ```python
    noise = TableGaussianNoise(0.3, seed=1)
    noise(np.zeros((2, 5)), training=True)      # ten values of deviation 0.3
    ```

    Reference: arXiv:1606.03498, section 6.1: noise in MNIST's discriminator.

    Differs from the original code: there every value is drawn by itself.
    """

    def __init__(self, stddev: float, seed: int | None = None, exact: bool = False, **kwargs: Any) -> None:
        if not stddev >= 0:
            raise ValueError(f"`stddev` must not be negative. Received: stddev={stddev}")
        super().__init__(**kwargs)
        self.stddev = float(stddev)
        self.seed = seed
        self.exact = exact
        self.seed_generator = HostSeedGenerator(seed)
        self.supports_masking = True
        self.built = True

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or self.stddev == 0:
            return inputs
        shape = ops.shape(inputs)
        noise = self._exact_noise(shape) if self.exact else self._noise_from_table(shape)
        # Not `ops.add`: on TensorFlow it fails for a batch of no rows.
        return ops.cast(inputs, self.compute_dtype) + noise

    def _exact_noise(self, shape: Any) -> Tensor:
        return keras.random.normal(shape, stddev=self.stddev, dtype=self.compute_dtype, seed=self.seed_generator)

    def _noise_from_table(self, shape: Any) -> Tensor:
        count = math.prod(shape)
        blocks = (count + _BLOCK_SIZE - 1) // _BLOCK_SIZE
        drawn = keras.random.randint((blocks,), 0, _BLOCKS, dtype="int32", seed=self.seed_generator)
        if has_gpu():
            # TensorFlow handles whole numbers of 32 bits on the host.
            drawn = ops.cast(drawn, "int64")
        table = _table(self.stddev, self.compute_dtype)
        return ops.reshape(ops.reshape(ops.take(table, drawn, axis=0), (-1,))[:count], shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stddev": self.stddev, "seed": self.seed, "exact": self.exact}


# The layer's first name, which saved models have; Keras's layer of that name draws exact normals.
GaussianNoise = TableGaussianNoise
keras.saving.get_custom_objects()["igan_tf>GaussianNoise"] = TableGaussianNoise
