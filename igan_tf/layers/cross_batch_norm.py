"""Batch normalization of a joint batch, half of the channels by the real images and half by the generated ones."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from igan_tf.layers.row_statistics import row_moments, scale_rows, to_rows
from igan_tf.precision import wide_dtype
from igan_tf.types import Shape, Tensor


@keras.saving.register_keras_serializable("igan_tf")
class CrossBatchNorm(keras.layers.Layer):
    """Normalizes the first half of the channels by the real half of the batch, the second half by the generated half.

    In training, with x (N, ..., C) a joint batch [real; generated], h = N / 2 and c = C / 2,

        mean, variance = moments of x[:h, ..., :c] over all axes but the last         for the channels before c
        mean, variance = moments of x[h:, ..., c:] over all axes but the last         for the channels from c on
        y = gamma * (x - mean) / sqrt(variance + epsilon) + beta                      mean, variance, gamma, beta: (C,)

    for every row alike: the real images measure a generated image's first channels, the generated ones a real image's
    last channels. So each example shows the discriminator how it lies among both kinds, and gradients flow from each
    half to the other.

    Training and inference differ. In training the statistics are the batch's, under `tf.distribute` each replica's, and
    the layer keeps moving averages of them, `moving_mean` and `moving_variance`: before channel c of real images, from
    c on of generated ones, averaged over replicas. In inference those take the statistics' place and no joint batch is
    needed: a single image, or real images alone, get an output that no other example changes, the one that an image
    gets on average beside a batch of the training. Statistics are in float32 under mixed precision.

    Args:
        momentum: Moving averages become `momentum * average + (1 - momentum) * statistic` at each call in training.
        epsilon: Added to the variance.
        center: Whether to add `beta`.
        scale: Whether to multiply by `gamma`.
        gamma_initializer: Initializer of `gamma`; None is N(1, 0.02).
        beta_initializer: Initializer of `beta`.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        inputs: Floating point tensor, channels last; in training the real rows first, as many as generated ones.
        training: Whether to use, and to record, the batch's own statistics.

    Input shape: `(N, ..., C)`, of rank 2 or more, C even, in training N even.

    Output shape: that of the input.

    Raises:
        ValueError: for rank 1, an odd or unknown number of channels, in training a batch known to be odd, a `momentum`
            outside [0, 1] and an `epsilon` that is not above 0.

    ```python
    norm = CrossBatchNorm()
    real, generated = np.random.default_rng(0).normal(size=(2, 16, 4, 4, 6))
    joint = norm(np.concatenate([real, generated]), training=True)
    single = norm(real[:1])      # by the moving averages
    ```

    Reference: arXiv:1606.03498, section 6.4 (ImageNet); the layer itself is in the published code alone.

    Differs from the original code: it has no inference, and no moving averages.
    """

    # An example's output depends on the others of its batch (`SemiSupervisedGAN`'s `joint_passes`).
    couples_examples = True

    def __init__(
        self,
        momentum: float = 0.99,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        gamma_initializer: Any = None,
        beta_initializer: Any = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= momentum <= 1:
            raise ValueError(f"CrossBatchNorm needs `momentum` from 0 to 1. Received: momentum={momentum!r}")
        if not epsilon > 0:
            raise ValueError(f"CrossBatchNorm needs `epsilon` above 0. Received: epsilon={epsilon!r}")
        self.momentum = momentum
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        if gamma_initializer is None:
            gamma_initializer = keras.initializers.RandomNormal(mean=1.0, stddev=0.02)
        self.gamma_initializer = keras.initializers.get(gamma_initializer)
        self.beta_initializer = keras.initializers.get(beta_initializer)
        self.gamma = self.beta = None

    def build(self, input_shape: Shape) -> None:
        self._check_shape(input_shape)
        shape = (input_shape[-1],)
        if self.scale:
            self.gamma = self.add_weight(shape=shape, initializer=self.gamma_initializer, name="gamma", autocast=False)
        if self.center:
            self.beta = self.add_weight(shape=shape, initializer=self.beta_initializer, name="beta", autocast=False)
        moving = {"shape": shape, "trainable": False, "autocast": False, "aggregation": "mean"}
        self.moving_mean = self.add_weight(name="moving_mean", initializer="zeros", **moving)
        self.moving_variance = self.add_weight(name="moving_variance", initializer="ones", **moving)
        self.input_spec = keras.layers.InputSpec(ndim=len(input_shape), axes={-1: input_shape[-1]})

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        x = ops.cast(inputs, wide_dtype(self.compute_dtype))
        if training:
            mean, variance = self._joint_statistics(x)
            self._record(mean, variance)
        else:
            mean, variance = (ops.cast(moving, x.dtype) for moving in (self.moving_mean, self.moving_variance))
        factor = ops.rsqrt(variance + self.epsilon)
        if self.scale:
            factor = factor * ops.cast(self.gamma, x.dtype)
        offset = -mean * factor
        if self.center:
            offset = offset + ops.cast(self.beta, x.dtype)
        rows = ops.shape(x)[0]
        factor, offset = (ops.broadcast_to(value, (rows, x.shape[-1])) for value in (factor, offset))
        outputs = ops.reshape(scale_rows(to_rows(x), factor, offset), ops.shape(x))
        return ops.cast(outputs, self.compute_dtype)

    def _joint_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of every channel over the half of the batch that it is measured by, both (C,)."""
        if x.shape[0] is not None and x.shape[0] % 2:
            raise ValueError(
                "CrossBatchNorm needs a joint batch of as many real as generated rows in training. Received: "
                f"inputs.shape={tuple(x.shape)}"
            )
        # Of all rows and channels: to take the map's two quarters out of it would cost more.
        real, generated = ops.split(row_moments(to_rows(x)), 2, axis=1)
        quarters = [ops.split(real, 2, axis=2)[0], ops.split(generated, 2, axis=2)[1]]
        mean, variance = ops.unstack(ops.concatenate(quarters, axis=2), num=2)
        count = ops.cast(ops.shape(x)[0] // 2, x.dtype)
        # Sums, not `ops.mean`: under PyTorch and JAX it takes float64 through float32.
        joint_mean = ops.sum(mean, axis=0) / count
        return joint_mean, ops.sum(variance + ops.square(mean - joint_mean), axis=0) / count

    def _record(self, mean: Tensor, variance: Tensor) -> None:
        for moving, statistic in ((self.moving_mean, mean), (self.moving_variance, variance)):
            value = self.momentum * moving.value + (1 - self.momentum) * ops.cast(statistic, moving.dtype)
            moving.assign(ops.stop_gradient(value))

    def _check_shape(self, shape: Shape) -> None:
        if len(shape) < 2:
            raise ValueError(f"CrossBatchNorm needs inputs of rank 2 or more. Received: input shape {tuple(shape)}")
        if shape[-1] is None or shape[-1] % 2:
            raise ValueError(
                f"CrossBatchNorm needs an even, known number of channels. Received: input shape {tuple(shape)}"
            )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        self._check_shape(input_shape)
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "gamma_initializer": keras.initializers.serialize(self.gamma_initializer),
            "beta_initializer": keras.initializers.serialize(self.beta_initializer),
        }
