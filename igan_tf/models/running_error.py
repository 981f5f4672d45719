"""A running average that is a true mean at first."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from igan_tf.types import Tensor


@keras.saving.register_keras_serializable("igan_tf")
class RunningError(keras.layers.Layer):
    """Keeps a running average of a number: the mean of the first `window` values, then a decay of `1 - 1 / window`.

        average <- average + (value - average) / min(t, window)      at the t-th value

    Training and inference are alike. Under `tf.distribute` the average is over all replicas' values.

    Args:
        window: Values in the true mean; the published ImageNet code has 100.
        dtype: Of the computation, whatever the global policy: in bfloat16 a hundredth of a change is rounded away.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        value: A scalar.

    Input shape: `()`.

    Output shape: `()`: the average, this value included.

    Raises:
        ValueError: for a `window` below 1.

    ```python
    running_error = RunningError(window=100)
    averages = [running_error(ops.convert_to_tensor(value)) for value in (1.0, 0.0)]      # 1, 1/2
    ```

    Reference: the published ImageNet code.

    Differs from the original code: it averages over replicas, where that tracks the first GPU's error.
    """

    def __init__(self, window: int = 100, dtype: Any = "float32", **kwargs: Any) -> None:
        if window < 1:
            raise ValueError(f"`window` must be at least 1. Received: window={window}")
        super().__init__(dtype=dtype, **kwargs)
        self.window = window
        self.average = self.add_weight(
            shape=(), initializer="zeros", dtype="float32", trainable=False, aggregation="mean", name="average"
        )
        self.count = self.add_weight(
            shape=(),
            initializer="zeros",
            dtype="int64",
            trainable=False,
            aggregation="only_first_replica",
            name="count",
        )

    def call(self, value: Tensor) -> Tensor:
        count = ops.minimum(self.count + 1, self.window)
        average = ops.convert_to_tensor(self.average)
        average += (ops.cast(value, average.dtype) - average) / ops.cast(count, average.dtype)
        self.average.assign(average)
        self.count.assign(count)
        return average

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "window": self.window}
