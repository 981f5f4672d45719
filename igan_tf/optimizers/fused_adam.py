"""Adam in one pass over each variable."""

from __future__ import annotations

import keras
from keras import ops

from igan_tf.optimizers.step_scalars import ComputesScalarsOnce, apply_adam
from igan_tf.types import Tensor


@keras.saving.register_keras_serializable("igan_tf")
class FusedAdam(ComputesScalarsOnce, keras.optimizers.Adam):
    """Computes Keras's Adam, on TensorFlow with that library's fused operation.

        theta <- theta - learning_rate * sqrt(1 - beta_2^t) / (1 - beta_1^t) * m / (sqrt(v) + epsilon)

    with m and v the running means of g and g^2. Keras's own update is a dozen passes over weights and slots, which for
    ImageNet's 140 million weights take as long as a forward pass. On other backends, and with `amsgrad`, it is Keras's
    update.

    Args:
        **kwargs: `keras.optimizers.Adam` arguments.

    ```python
    optimizer = FusedAdam(0.0004, beta_1=0.5)
    ```

    Reference: [Kingma and Ba, 2014](https://arxiv.org/abs/1412.6980), the formulation before section 2.1.

    Differs from the original code: nothing; the ImageNet code has TensorFlow's Adam, which is this operation.
    """

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor) -> None:
        if keras.backend.backend() != "tensorflow" or self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        index, dtype = self._get_variable_index(variable), variable.dtype
        slots = self._momentums[index], self._velocities[index]
        scalars = self.scalars_of(learning_rate, dtype)
        apply_adam(variable, *slots, ops.cast(gradient, dtype), scalars, self.epsilon)
