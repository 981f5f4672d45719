"""Additive Gaussian noise at a fraction of the usual cost."""

import functools

import keras
import numpy as np
from keras import ops

# 2^16 blocks of 16: 4 MB, which stays in a CPU's cache, and one 16-bit draw for 16 values.
_BLOCKS = 2**16
_BLOCK_SIZE = 16


@functools.cache
def _normal_blocks():
    """The quantiles of N(0, 1) at the midpoints of 2^20 equal probabilities, shuffled once, in blocks of 16.

    Quantiles instead of draws: their mean is exactly 0 by symmetry, their distribution is within 2^-20 of the
    normal's everywhere, and the largest is 4.9.
    """
    from scipy.special import ndtri

    count = _BLOCKS * _BLOCK_SIZE
    quantiles = ndtri((np.arange(count) + 0.5) / count).astype("float32")
    return np.random.default_rng(1606_03498).permutation(quantiles).reshape(_BLOCKS, _BLOCK_SIZE)


@keras.saving.register_keras_serializable("igan_tf")
class GaussianNoise(keras.layers.Layer):
    """Adds `N(0, stddev^2)` noise while training: `y = x + stddev * n`.

    `n`, of the shape of `x`, is put together from blocks of 16 values, each block drawn uniformly from a fixed table
    of 65,536. The table holds 2^20 quantiles of the normal distribution in shuffled order. On a CPU this costs about
    a quarter of drawing as many normals, which would be a quarter of a whole step of the MNIST networks
    (`BUILD_NOTES.md`, "Speed"). Use `keras.layers.GaussianNoise` where values beyond 4.9 deviations, or the exact
    independence of 16 neighbouring values, matter.

    Identity at inference. Under `tf.distribute` each replica draws by its own seed only if the caller sees to it, as
    this package's models do; a Keras seed generator gives all replicas the same noise.

    Args:
        stddev: Standard deviation of the noise, in the input's units.
        seed: Optional integer.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        inputs: Any tensor.
        training: Whether to add noise.

    Input shape: any. Output shape: the same.

    Raises:
        ValueError: for a negative `stddev`.

    Reference:
        [Salimans et al., 2016](https://arxiv.org/abs/1606.03498), section 6.1: noise in MNIST's discriminator.

    Differs from the original code: there every value is drawn by itself.
    """

    def __init__(self, stddev, seed=None, **kwargs):
        if not stddev >= 0:
            raise ValueError(f"`stddev` must not be negative. Received: stddev={stddev}")
        super().__init__(**kwargs)
        self.stddev = stddev
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, inputs, training=False):
        if not training or self.stddev == 0:
            return inputs
        shape = ops.shape(inputs)
        count = 1
        for size in shape:
            count = count * size
        blocks = (count + _BLOCK_SIZE - 1) // _BLOCK_SIZE
        drawn = keras.random.randint((blocks,), 0, _BLOCKS, dtype="int32", seed=self.seed_generator)
        # Scaled in NumPy: a pass over the table once instead of over the noise every time.
        table = ops.convert_to_tensor(self.stddev * _normal_blocks(), dtype=self.compute_dtype)
        noise = ops.reshape(ops.take(table, drawn, axis=0), (-1,))[:count]
        # Not `ops.add`: on TensorFlow it fails for a batch of no rows.
        return ops.cast(inputs, self.compute_dtype) + ops.reshape(noise, shape)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "stddev": self.stddev, "seed": self.seed}
