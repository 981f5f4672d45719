"""The discriminator as a classifier: its errors as it is and with the running average of its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import scipy.special
import tensorflow as tf

from igan_tf.images.arrays import as_unit_range
from igan_tf.models.parameter_average import ParameterAverage


class AveragedClassifier:
    """What a Keras model needs to be tested as a classifier, to inherit from before `keras.Model`.

    The model has `discriminator`, whose logits are the classes', and `discriminator_average`, a `ParameterAverage` of
    its trainable variables; called, it gives the logits. Its `compile` sets `_test_metrics`.
    """

    discriminator: keras.Model
    discriminator_average: ParameterAverage
    _test_metrics: list[keras.metrics.Metric]
    __call__: Callable[..., tf.Tensor]

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return list(getattr(self, "_test_metrics", []))

    def averaged_logits(self, images: tf.Tensor) -> tf.Tensor:
        """Returns the discriminator's logits, `(N, K)`, with the running average of its parameters."""
        mapping = list(zip(self.discriminator.trainable_variables, self.discriminator_average.values()))
        with keras.StatelessScope(mapping):
            return self.discriminator(images, training=False)["logits"]

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Computes the errors of the discriminator as it is and with averaged parameters, on `(images, labels)`."""
        images, labels = data[:2]
        for metric, logits in zip(self._test_metrics, (self(images), self.averaged_logits(images))):
            metric.update_state(tf.argmax(logits, axis=-1) != tf.cast(labels, tf.int64))
        return {metric.name: metric.result() for metric in self._test_metrics}

    def test_errors(self, images: np.ndarray, labels: np.ndarray, batch_size: int) -> dict[str, float]:
        """Computes the fractions of wrong classes with the parameters as they are and with their averages.

        Args:
            images: `(N, height, width, channels)`, uint8 or float32 in [0, 1].
            labels: `(N,)` integers.
            batch_size: As in training: minibatch features depend on an example's batch. The order is `images`'.

        Returns:
            Dict of `test_error` and `averaged_test_error`.
        """
        if getattr(self, "_classifier", None) is None:
            self._classifier = tf.function(
                lambda images: tf.stack(
                    [tf.argmax(logits, -1) for logits in (self(images), self.averaged_logits(images))]
                ),
                reduce_retracing=True,
                autograph=False,
            )
        wrong = np.zeros(2)
        for rows in _batches(len(labels), batch_size):
            wrong += (self._classifier(as_unit_range(images[rows])).numpy() != labels[rows]).sum(axis=1)
        error, averaged_error = (wrong / len(labels)).tolist()
        return {"test_error": error, "averaged_test_error": averaged_error}

    def class_probabilities(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        """Computes class probabilities by the averaged parameters, `(N, K)` float64, from what `test_errors` takes."""
        logits = [self.averaged_logits(as_unit_range(images[rows])) for rows in _batches(len(images), batch_size)]
        return scipy.special.softmax(np.concatenate(logits).astype("float64"), axis=-1)


def _batches(count: int, batch_size: int) -> list[slice]:
    """Returns slices of consecutive rows; the last may be shorter."""
    return [slice(start, start + batch_size) for start in range(0, count, batch_size)]
