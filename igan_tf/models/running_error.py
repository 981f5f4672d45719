"""A running average that soon means something."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("igan_tf")
class RunningError(keras.layers.Layer):
    """Running average of a number: the true mean of the first `window` values, then a decay of `1 - 1 / window`.

    `average <- average + (value - average) / min(t, window)` at the t-th value. Under `tf.distribute` the average is
    over all replicas' values.

    Args:
        window: Values in the true mean; the published ImageNet code has 100.
        dtype: Of the computation, whatever the global policy: in bfloat16 a hundredth of a change is rounded away.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        value: A scalar.

    Returns:
        The average, this value included; a scalar.

    Raises:
        ValueError: for a `window` below 1.
    """

    def __init__(self, window=100, dtype="float32", **kwargs):
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

    def call(self, value):
        count = ops.minimum(self.count + 1, self.window)
        average = ops.convert_to_tensor(self.average)
        average += (ops.cast(value, average.dtype) - average) / ops.cast(count, average.dtype)
        self.average.assign(average)
        self.count.assign(count)
        return average

    def get_config(self):
        return {**super().get_config(), "window": self.window}
