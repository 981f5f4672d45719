"""The learning rate schedule of the paper's convolutional experiments."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from igan_tf.types import Tensor


@keras.saving.register_keras_serializable("igan_tf")
class AnnealedRate(keras.optimizers.schedules.LearningRateSchedule):
    """Keeps a learning rate for the first part of the training, then lets it fall linearly to 0.

        rate * clip((1 - epoch / epochs) / (1 - start), 0, 1),    epoch = floor(step / steps_per_epoch)

    The published code sets it once an epoch. For CIFAR-10's 1200 epochs it is `rate * min(3 - epoch / 400, 1)`, start
    2/3; for MNIST's 500 with minibatch discrimination `rate * min(2.5 - epoch / 200, 1)`, start 3/5.

    Args:
        rate: The learning rate at the start.
        epochs: The epoch from which on it is 0.
        steps_per_epoch: Updates of this optimizer in an epoch.
        start: The share of `epochs` after which the rate begins to fall.

    Raises:
        ValueError: for `epochs` or `steps_per_epoch` below 1, `start` below 0 or not below 1.

    ```python
    optimizer = InsideRootAdam(AnnealedRate(0.0003, epochs=1200, steps_per_epoch=500))
    ```

    Reference: the code published with arXiv:1606.03498.

    Differs from the original code: nothing.
    """

    def __init__(self, rate: float, epochs: int, steps_per_epoch: int, start: float = 2 / 3) -> None:
        for argument, value in (("epochs", epochs), ("steps_per_epoch", steps_per_epoch)):
            if value < 1:
                raise ValueError(f"`{argument}` must be at least 1. Received: {argument}={value}")
        if not 0 <= start < 1:
            raise ValueError(f"`start` must be at least 0 and below 1. Received: start={start}")
        self.rate = rate
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self.start = start

    def __call__(self, step: Tensor) -> Tensor:
        # In whole numbers: float32 counts steps exactly to 2^24 alone.
        epoch = ops.cast(ops.floor_divide(step, self.steps_per_epoch), "float32")
        slope = 1 / (1 - self.start)
        return self.rate * ops.clip(slope - slope * epoch / self.epochs, 0.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        return {
            "rate": self.rate,
            "epochs": self.epochs,
            "steps_per_epoch": self.steps_per_epoch,
            "start": self.start,
        }
