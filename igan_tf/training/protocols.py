"""What the training loop needs of a model and of its batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

# Of an epoch's number from 1, the step and the means of the epoch's logs; returns the epoch's metrics.
OnEpochEnd: TypeAlias = Callable[[int, int, dict[str, float]], Mapping[str, Any]]
# Of a step's number and a function that waits for its losses.
OnStepEnd: TypeAlias = Callable[[int, Callable[[], dict[str, float]]], Any]


class TrainableModel(Protocol):
    """A compiled model; every `AdversarialModel` is one."""

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Updates the model on a batch; returns scalars by the names under which they are logged."""

    def state_variables(self) -> dict[str, keras.Variable]:
        """Returns every variable that training changes, by a name that is the same in every process."""


class Batches(Protocol):
    """This worker's part of a data set's batches.

    Attributes:
        steps_per_epoch: Batches in an epoch.
    """

    steps_per_epoch: int

    def epoch(self, epoch: int, start_step: int) -> tf.data.Dataset:
        """The batches of one epoch from `start_step` on."""
