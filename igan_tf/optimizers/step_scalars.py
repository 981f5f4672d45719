"""What Adam computes once a step, on TensorFlow, instead of once for every variable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from igan_tf.types import Tensor


class StepScalars(NamedTuple):
    """Holds the scalars of one step, in one dtype.

    Attributes:
        rate: The learning rate.
        beta_1, beta_2: The decays.
        beta_1_power, beta_2_power: The decays to the power of the step's number, from 1.
    """

    rate: Tensor
    beta_1: Tensor
    beta_2: Tensor
    beta_1_power: Tensor
    beta_2_power: Tensor


def apply_adam(
    variable: keras.Variable,
    momentum: keras.Variable,
    velocity: keras.Variable,
    gradient: Tensor,
    scalars: StepScalars,
    epsilon: float,
) -> None:
    """Updates a variable and its slots by TensorFlow's fused Adam; `epsilon` stands outside the root."""
    import tensorflow as tf

    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=momentum.value.handle,
        v=velocity.value.handle,
        beta1_power=scalars.beta_1_power,
        beta2_power=scalars.beta_2_power,
        lr=scalars.rate,
        beta1=scalars.beta_1,
        beta2=scalars.beta_2,
        epsilon=tf.constant(epsilon, gradient.dtype),
        grad=gradient,
    )


class ComputesScalarsOnce:
    """Hands `update_step` the step's `StepScalars` by dtype in the learning rate's place; before a Keras optimizer.

    On a GPU each of them is a launch of its own, which for ImageNet's 61 variables takes longer than the arithmetic. A
    subclass's `update_step` calls `scalars_of`.
    """

    beta_1: float
    beta_2: float
    iterations: keras.Variable
    amsgrad: bool = False

    def _backend_update_step(
        self, grads: Sequence[Tensor], trainable_variables: Sequence[Any], learning_rate: Any
    ) -> None:
        # With `amsgrad` the update is Keras's.
        if keras.backend.backend() == "tensorflow" and not self.amsgrad:
            dtypes = sorted({keras.backend.standardize_dtype(variable.dtype) for variable in trainable_variables})
            # Each replica's own: Keras hands it to the replicas' updates as it hands them the rate.
            learning_rate = {dtype: self.scalars(learning_rate, dtype) for dtype in dtypes}
        super()._backend_update_step(grads, trainable_variables, learning_rate)  # type: ignore[misc]

    def scalars(self, learning_rate: Tensor, dtype: str) -> StepScalars:
        """Computes the scalars of this step."""
        step = ops.cast(self.iterations + 1, dtype)
        # Not `ops.cast` of the betas: on TensorFlow it takes a number through float32.
        betas = [ops.convert_to_tensor(beta, dtype=dtype) for beta in (self.beta_1, self.beta_2)]
        return StepScalars(ops.cast(learning_rate, dtype), *betas, *(ops.power(beta, step) for beta in betas))

    def scalars_of(self, learning_rate: Any, dtype: Any) -> StepScalars:
        """Looks the scalars up that came in the learning rate's place, or computes them."""
        dtype = keras.backend.standardize_dtype(dtype)
        return learning_rate[dtype] if isinstance(learning_rate, dict) else self.scalars(learning_rate, dtype)
