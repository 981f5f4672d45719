"""Batch normalization with the batch's own statistics and no others."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from igan_tf.precision import wide_dtype
from igan_tf.types import Shape, Tensor


@keras.saving.register_keras_serializable("igan_tf")
class BatchStatisticsNorm(keras.layers.Layer):
    """Normalizes with the statistics of the batch at hand, in training and in inference.

        y = (x - mean) / sqrt(variance + epsilon) * gamma + beta

    with x, y (N, ..., C), and mean, variance, gamma, beta (C,), the first two over every axis of x but the last.

    Training and inference are alike: no moving averages are kept, because a generator that sampled with them would
    sample from another distribution than the one it was trained on. An image therefore depends on the others of its
    batch, in `predict` too. Under `tf.distribute` the statistics are each replica's. They are computed in float32 under
    mixed precision.

    Args:
        center: Whether to add `beta`, which starts at 0.
        scale: Whether to multiply by `gamma`, which starts at 1.
        epsilon: Added to the variance.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        inputs: Floating point tensor, channels last.

    Input shape: `(N, ..., C)`, of rank 2 or more.

    Output shape: that of the input.

    Raises:
        ValueError: for inputs of rank 1.

    ```python
    norm = BatchStatisticsNorm()
    outputs = norm(np.random.default_rng(0).normal(5, 3, size=(100, 4)))      # each channel with mean 0, variance 1
    ```

    Reference: [Ioffe and Szegedy, 2015](https://arxiv.org/abs/1502.03167).

    Differs from the original code: nothing; its Theano generators have no `gamma`, one bias and 1e-6.
    """

    # An example's output depends on the others of its batch (`SemiSupervisedGAN`'s `joint_passes`).
    couples_examples = True

    def __init__(self, center: bool = True, scale: bool = False, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.center = center
        self.scale = scale
        self.epsilon = epsilon
        self.gamma = self.beta = None

    def build(self, input_shape: Shape) -> None:
        if len(input_shape) < 2:
            raise ValueError(f"`inputs` must have rank 2 or more. Received: inputs.shape={tuple(input_shape)}")
        shape = (input_shape[-1],)
        if self.scale:
            self.gamma = self.add_weight(shape=shape, initializer="ones", name="gamma")
        if self.center:
            self.beta = self.add_weight(shape=shape, initializer="zeros", name="beta")

    def call(self, inputs: Tensor) -> Tensor:
        dtype = wide_dtype(self.compute_dtype)
        axes = list(range(len(inputs.shape) - 1))
        inputs = ops.cast(inputs, dtype)
        sizes = ops.shape(inputs)
        count = ops.cast(math.prod(sizes[axis] for axis in axes), dtype)
        # Sums, not `ops.mean`: under PyTorch and JAX it takes float64 through float32.
        centered = inputs - ops.sum(inputs, axis=axes, keepdims=True) / count
        # A mean of squared deviations, not of squares: the batch may be far from 0.
        factor = ops.rsqrt(ops.sum(ops.square(centered), axis=axes, keepdims=True) / count + self.epsilon)
        if self.scale:
            factor = factor * ops.cast(self.gamma, dtype)
        outputs = centered * factor
        if self.center:
            outputs = outputs + ops.cast(self.beta, dtype)
        return ops.cast(outputs, self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "center": self.center, "scale": self.scale, "epsilon": self.epsilon}
