"""The running average of a player's parameters, with which it is evaluated."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from igan_tf.devices import assign_here
from igan_tf.precision import wide_dtype
from igan_tf.types import Tensor


@keras.saving.register_keras_serializable("igan_tf")
class ParameterAverage(keras.layers.Layer):
    """Keeps a running average of variables.

        average <- average + (1 - decay) * (theta - average)

    starting from 0, for every variable theta at each `update`. It is a layer for its weights' sake; it is not called.
    Under `tf.distribute` call `track` in the strategy's scope; the first replica's values serve all.

    Args:
        decay: In [0, 1). The published code has 0.9999.
        debias: Whether `values()` divides by `1 - decay^t`, the sum of the weights given so far, which makes it a
            true weighted mean from the first step on. The published code does not.
        **kwargs: `keras.layers.Layer` arguments.

    Raises:
        ValueError: for a decay outside [0, 1).

    ```python
    average = ParameterAverage(decay=0.999)
    variables = [keras.Variable(np.ones(3))]
    average.track(variables)
    average.update(variables)
    values = average.values()      # of the first update: ones
    ```

    Reference: the code published with arXiv:1606.03498.

    Differs from the original code: it is debiased unless `debias=False`.
    """

    def __init__(self, decay: float = 0.9999, debias: bool = True, **kwargs: Any) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"`decay` must be in [0, 1). Received: decay={decay}")
        super().__init__(**kwargs)
        self.decay = decay
        self.debias = debias

    def track(self, variables: Sequence[keras.Variable]) -> None:
        """Creates one average for each of `variables`.

        Not `build`: Keras would keep its arguments, the variables, as this layer's own weights.
        """
        kept = list(variables)
        # A function: of a list Keras would take the variables for this layer's own.
        self.tracked: Callable[[], list[keras.Variable]] = lambda: kept
        # Replicas hold equal values after every update, so the first's serves all.
        self.averages = [
            self.add_weight(
                shape=variable.shape,
                initializer="zeros",
                # In half precision the small steps of a slow average would be lost.
                dtype=wide_dtype(variable.dtype),
                trainable=False,
                aggregation="only_first_replica",
                name=f"average_{index}",
            )
            for index, variable in enumerate(variables)
        ]
        self.count = self.add_weight(
            shape=(),
            initializer="zeros",
            dtype="int64",
            trainable=False,
            aggregation="only_first_replica",
            name="count",
        )
        self.built = True

    def update(self, variables: Sequence[keras.Variable]) -> None:
        """Takes the present values of `variables` into the average.

        Raises:
            ValueError: for other variables than those of `track`, as after a layer was frozen.
        """
        if [id(variable) for variable in variables] != [id(variable) for variable in self.tracked()]:
            raise ValueError(
                f"`variables` must be the {len(self.averages)} that the average tracks: compile the model again after "
                f"`trainable` has changed. Received: {len(variables)} variables"
            )
        for average, variable in zip(self.averages, variables):
            difference = average - ops.convert_to_tensor(variable, dtype=average.dtype)
            # average <- average - rate * difference in one pass; in a replica the handle is that replica's own copy.
            rate = tf.constant(1 - self.decay, difference.dtype)
            tf.raw_ops.ResourceApplyGradientDescent(var=average.value.handle, alpha=rate, delta=difference)
        assign_here(self.count, self.count + 1)

    def restart(self, variables: Sequence[keras.Variable]) -> None:
        """Makes `values()` the present values of `variables`, but for rounding."""
        share = 1 - self.decay if self.debias else 1.0
        for average, variable in zip(self.averages, variables, strict=True):
            average.assign(share * ops.convert_to_tensor(variable, dtype=average.dtype))
        self.count.assign(1)

    def present(self) -> list[Tensor]:
        """Returns the variables themselves, in the averages' precision."""
        pairs = zip(self.averages, self.tracked())
        return [ops.convert_to_tensor(variable, dtype=average.dtype) for average, variable in pairs]

    def values(self) -> list[Tensor]:
        """Returns the averages; zeros before the first update."""
        if not self.debias:
            return [ops.convert_to_tensor(average) for average in self.averages]
        # 1 - decay^t through expm1: at t = 1 the plain form loses four digits in float32.
        log_decay = math.log(self.decay) if self.decay else -math.inf
        weight = -ops.expm1(ops.cast(self.count, "float32") * log_decay)
        factor = ops.where(self.count > 0, 1 / weight, 0.0)
        return [average * ops.cast(factor, average.dtype) for average in self.averages]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "decay": self.decay, "debias": self.debias}
