"""Batch normalization of a joint batch, the real and the generated half each by itself."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from igan_tf.types import Tensor


@keras.saving.register_keras_serializable("igan_tf")
class SeparateBatchNorm(keras.layers.BatchNormalization):
    """Applies Keras's batch normalization to each half of a joint batch [real; generated] in training.

        y[:h] = BatchNormalization(x[:h]),    y[h:] = BatchNormalization(x[h:])

    with x, y (N, ..., C), h = N / 2, and one `gamma` and `beta`, (C,), for both. So one pass over a joint batch gives
    what DCGAN's discriminator gives in its two passes, one over real and one over generated images; under statistics of
    the whole joint batch each image's output would tell what the other half is like.

    Training and inference differ. The moving averages take in both halves' statistics, the real half's first; in
    inference they serve all rows, and no joint batch is needed. Under `tf.distribute` the statistics are each
    replica's, and the moving averages those of all replicas.

    Args:
        momentum, epsilon: Those of `keras.layers.BatchNormalization`; DCGAN's values by default.
        gamma_initializer: Initializer of `gamma`; None is N(1, 0.02).
        **kwargs: `keras.layers.BatchNormalization` arguments.

    Call arguments:
        inputs: Floating point tensor, channels last; in training the real rows first, as many as generated ones.
        training: Whether to use, and to record, the halves' own statistics.

    Input shape: `(N, ..., C)`, in training N even.

    Output shape: that of the input.

    Raises:
        ValueError: in training, for a batch known to be odd and for a mask; whatever
            `keras.layers.BatchNormalization` refuses.

    ```python
    norm = SeparateBatchNorm()
    real, generated = np.random.default_rng(0).normal(size=(2, 16, 4, 4, 6))
    joint = norm(np.concatenate([real, generated]), training=True)
    single = norm(real[:1])      # by the moving averages
    ```

    Reference: [Radford et al., 2015](https://arxiv.org/abs/1511.06434), the paper's baseline on ImageNet.

    Differs from the original code: it runs the discriminator twice.
    """

    # An example's output depends on the others of its batch (`SemiSupervisedGAN`'s `joint_passes`).
    couples_examples = True

    def __init__(
        self, momentum: float = 0.9, epsilon: float = 1e-5, gamma_initializer: Any = None, **kwargs: Any
    ) -> None:
        if gamma_initializer is None:
            gamma_initializer = keras.initializers.RandomNormal(mean=1.0, stddev=0.02)
        super().__init__(momentum=momentum, epsilon=epsilon, gamma_initializer=gamma_initializer, **kwargs)

    def add_weight(self, *args: Any, **kwargs: Any) -> keras.Variable:
        # Keras's moving averages are not averaged over replicas: each replica would keep its own.
        if not kwargs.get("trainable", True):
            kwargs.setdefault("aggregation", "mean")
        return super().add_weight(*args, **kwargs)

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor = None) -> Tensor:
        if not training:
            return super().call(inputs, training=training, mask=mask)
        if mask is not None:
            raise ValueError(f"SeparateBatchNorm takes no `mask` in training. Received: mask={mask}")
        if inputs.shape[0] is not None and inputs.shape[0] % 2:
            raise ValueError(
                "SeparateBatchNorm needs a joint batch of as many real as generated rows in training. Received: "
                f"inputs.shape={tuple(inputs.shape)}"
            )
        rows = ops.shape(inputs)[0] // 2
        halves = [super(SeparateBatchNorm, self).call(half, training=True) for half in (inputs[:rows], inputs[rows:])]
        return ops.concatenate(halves, axis=0)

    def _moments(self, inputs: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        mean, variance = super()._moments(inputs, mask)
        # TensorFlow's variance takes its mean for a constant, which is right for value and gradient alone. What is
        # subtracted is 0, and so is its gradient: it gives the second derivatives that the variance lacks.
        return mean, variance - ops.square(mean - ops.stop_gradient(mean))
