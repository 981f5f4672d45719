"""Batch normalization that knows no other statistics than the batch's own."""

import math

import keras
from keras import ops

from igan_tf.precision import wide_dtype


@keras.saving.register_keras_serializable("igan_tf")
class BatchStatisticsNorm(keras.layers.Layer):
    """Normalizes with the statistics of the batch at hand, in training and in inference.

    `y = (x - mean) / sqrt(variance + epsilon) * gamma + beta`, mean and variance over every axis but the last.

    No moving averages are kept: a generator that sampled with them would sample from another distribution than the
    one it was trained on. An image therefore depends on the others of its batch, in `predict` too. Under
    `tf.distribute` the statistics are each replica's.

    Args:
        center: Whether to add `beta`, shape `(channels,)`, starting at 0.
        scale: Whether to multiply by `gamma`, shape `(channels,)`, starting at 1.
        epsilon: Added to the variance.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        inputs: Tensor of rank 2 or more, channels last.

    Input shape: `(batch, ..., channels)`. Output shape: the same.

    Raises:
        ValueError: for inputs of rank 1.

    Reference:
        [Ioffe and Szegedy, 2015](https://arxiv.org/abs/1502.03167).

    Differs from the original code: in nothing; its Theano generators have no `gamma`, one bias and 1e-6.
    """

    # An example's output depends on the others of its batch (`SemiSupervisedGAN`'s `joint_passes`).
    couples_examples = True

    def __init__(self, center=True, scale=False, epsilon=1e-6, **kwargs):
        super().__init__(**kwargs)
        self.center = center
        self.scale = scale
        self.epsilon = epsilon
        self.gamma = self.beta = None

    def build(self, input_shape):
        if len(input_shape) < 2:
            raise ValueError(f"`inputs` must have rank 2 or more. Received: inputs.shape={tuple(input_shape)}")
        shape = (input_shape[-1],)
        if self.scale:
            self.gamma = self.add_weight(shape=shape, initializer="ones", name="gamma")
        if self.center:
            self.beta = self.add_weight(shape=shape, initializer="zeros", name="beta")

    def call(self, inputs):
        dtype = wide_dtype(self.compute_dtype)
        axes = list(range(len(inputs.shape) - 1))
        inputs = ops.cast(inputs, dtype)
        sizes = ops.shape(inputs)
        count = ops.cast(math.prod(sizes[axis] for axis in axes), dtype)
        # Sums, not `ops.mean`: under PyTorch and JAX it takes float64 through float32.
        centred = inputs - ops.sum(inputs, axis=axes, keepdims=True) / count
        # A mean of squared deviations, not of squares: the batch may be far from 0.
        factor = ops.rsqrt(ops.sum(ops.square(centred), axis=axes, keepdims=True) / count + self.epsilon)
        if self.scale:
            factor = factor * ops.cast(self.gamma, dtype)
        outputs = centred * factor
        if self.center:
            outputs = outputs + ops.cast(self.beta, dtype)
        return ops.cast(outputs, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "center": self.center, "scale": self.scale, "epsilon": self.epsilon}
