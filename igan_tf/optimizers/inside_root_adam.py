"""Adam with its small constant inside the square root, as the published Theano code has it."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from igan_tf.optimizers.step_scalars import ComputesScalarsOnce, apply_adam
from igan_tf.types import Tensor


@keras.saving.register_keras_serializable("igan_tf")
class InsideRootAdam(ComputesScalarsOnce, keras.optimizers.Optimizer):
    """Computes Adam with its constant added to the bias-corrected second moment, under the root.

        theta <- theta - learning_rate * m_hat / sqrt(v_hat + epsilon)

    with the usual m_hat = m / (1 - beta_1^t), v_hat = v / (1 - beta_2^t), m and v the running means of g and g^2.

    At `epsilon=1e-8` it acts like Adam with 1e-4 outside the root; with Keras's 1e-7 outside, the paper's MNIST
    discriminator wins outright.

    The slot kept is w = v + epsilon * (1 - beta_2^t), the running mean of g^2 + epsilon: the update is then
    learning_rate * sqrt(1 - beta_2^t) / (1 - beta_1^t) * m / sqrt(w), ordinary Adam with no constant, for which
    TensorFlow has one fused pass over each variable instead of ten.

    Args:
        learning_rate: A float or a `keras.optimizers.schedules.LearningRateSchedule`.
        beta_1: Decay of the first moment. The paper's experiments have 0.5.
        beta_2: Decay of the second moment.
        epsilon: The constant, in the units of a squared gradient.
        **kwargs: `keras.optimizers.Optimizer` arguments.

    Raises:
        ValueError: for betas outside [0, 1) or `epsilon <= 0`, and where it is built for variables in half precision.

    ```python
    optimizer = InsideRootAdam(learning_rate=0.003, beta_1=0.5)
    ```

    Reference: [Kingma and Ba, 2014](https://arxiv.org/abs/1412.6980); the constant's place follows the code published
        with arXiv:1606.03498.

    Differs from the original code: nothing but the slot kept.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.003,
        beta_1: float = 0.5,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        name: str = "inside_root_adam",
        **kwargs: Any,
    ) -> None:
        for argument, value in (("beta_1", beta_1), ("beta_2", beta_2)):
            if not 0 <= value < 1:
                raise ValueError(f"`{argument}` must be in [0, 1). Received: {argument}={value}")
        if beta_2 == 0 or not epsilon > 0:
            raise ValueError(f"`beta_2` and `epsilon` must be positive. Received: beta_2={beta_2}, epsilon={epsilon}")
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def build(self, variables: list[keras.Variable]) -> None:
        if self.built:
            return
        for variable in variables:
            if keras.backend.standardize_dtype(variable.dtype) in ("float16", "bfloat16"):
                # epsilon and 1 - beta_2 are nothing beside 1 there.
                raise ValueError(
                    "`variables` must be float32 or float64, as mixed policies keep them. "
                    f"Received: {variable.path} of {variable.dtype}"
                )
        super().build(variables)
        self._momentums, self._shifted_velocities = self.add_optimizer_variables(
            variables, ["momentum", "shifted_velocity"]
        )

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor) -> None:
        dtype = variable.dtype
        gradient = ops.cast(gradient, dtype)
        scalars = self.scalars_of(learning_rate, dtype)
        index = self._get_variable_index(variable)
        momentum, shifted_velocity = self._momentums[index], self._shifted_velocities[index]
        # The running mean's next value gains (1 - beta_2) * epsilon once beta_2 has multiplied this.
        shift = (1 - self.beta_2) / self.beta_2 * self.epsilon
        if keras.backend.backend() == "tensorflow":
            # Not `assign_add`, which would first fill a tensor of the variable's size.
            shifted_velocity.value.assign(shifted_velocity.value + ops.convert_to_tensor(shift, dtype=dtype))
            apply_adam(variable, momentum, shifted_velocity, gradient, scalars, epsilon=0)
            return
        self.assign_add(momentum, (gradient - momentum) * (1 - self.beta_1))
        self.assign_add(
            shifted_velocity, (ops.square(gradient) - shifted_velocity) * (1 - self.beta_2) + self.beta_2 * shift
        )
        rate = scalars.rate * ops.sqrt(1 - scalars.beta_2_power) / (1 - scalars.beta_1_power)
        self.assign_sub(variable, rate * momentum * ops.rsqrt(shifted_velocity))

    def get_config(self) -> dict[str, Any]:
        config = {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
        return {**super().get_config(), **config}
