"""The discriminator as a classifier: its errors as it is and with the running average of its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import scipy.special
import tensorflow as tf

from igan_tf.errors import DataError
from igan_tf.images.arrays import as_unit_range
from igan_tf.losses import UNLABELLED
from igan_tf.models.parameter_average import ParameterAverage
from igan_tf.models.user_data import as_batch, as_images, as_labels, check_arrays, check_integer
from igan_tf.types import Shape


class AveragedClassifier:
    """What a Keras model needs to be tested as a classifier, to inherit from before `keras.Model`.

    The model has `discriminator`, whose logits are the classes', and `discriminator_average`, a `ParameterAverage` of
    its trainable variables; called, it gives the logits. Its `compile` sets `_test_metrics`. `image_shape` and
    `num_classes` are those of `UserData`.
    """

    discriminator: keras.Model
    discriminator_average: ParameterAverage
    image_shape: Shape
    num_classes: int
    _test_metrics: list[keras.metrics.Metric]
    __call__: Callable[..., tf.Tensor]

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return list(getattr(self, "_test_metrics", []))

    def averaged_logits(self, images: tf.Tensor) -> tf.Tensor:
        """Returns the discriminator's logits, `(N, K)`, with the running average of its parameters."""
        average = self.discriminator_average
        # Before the first update there are no averages yet. Not `where`: it would pass over every weight once more.
        values = tf.cond(average.count > 0, average.values, average.present)
        with keras.StatelessScope(list(zip(average.tracked(), values))):
            return self.discriminator(as_images(images, self.image_shape), training=False)["logits"]

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Computes the errors of the discriminator as it is and with averaged parameters, on `(images, labels)`.

        Examples with the label -1 do not count.
        """
        batch = as_batch(data, self.image_shape, names=("images",), needed=("images", "labels"))
        images, labels = batch["images"], tf.cast(batch["labels"], tf.int64)
        for metric, logits in zip(self._test_metrics, (self(images), self.averaged_logits(images))):
            metric.update_state(tf.argmax(logits, axis=-1) != labels, sample_weight=labels != UNLABELLED)
        return {metric.name: metric.result() for metric in self._test_metrics}

    def test_errors(self, images: np.ndarray, labels: np.ndarray, batch_size: int) -> dict[str, float]:
        """Computes the fractions of wrong classes with the parameters as they are and with their averages.

        Args:
            images: `(N, height, width, channels)`, uint8 or floats in [0, 1].
            labels: `(N,)` or `(N, 1)` integers; examples with -1 do not count, but in the batches of others.
            batch_size: As in training: minibatch features depend on an example's batch. The order is `images`'.

        Returns:
            Dict of `test_error` and `averaged_test_error`.

        Raises:
            DataError: for images or labels of another shape, type or range, and where no example is labelled.
        """
        images, labels = np.asarray(images), as_labels(np.asarray(labels))
        check_integer("batch_size", batch_size, 1)
        check_arrays(images, labels, self.image_shape, self.num_classes, some_labelled=True)
        if len(images) != len(labels):
            raise DataError(
                f"`labels` must be one for each image. Received: {len(labels)} labels, {len(images)} images"
            )
        if getattr(self, "_classifier", None) is None:
            self._classifier = tf.function(
                lambda images: tf.stack(
                    [tf.argmax(logits, -1) for logits in (self(images), self.averaged_logits(images))]
                ),
                reduce_retracing=True,
                autograph=False,
            )
        wrong, counted = np.zeros(2), labels != UNLABELLED
        for rows, seen in self._batches(len(labels), batch_size):
            found = self._classifier(as_unit_range(images[rows])).numpy()
            wrong += ((found != labels[rows]) & counted[rows])[:, seen:].sum(axis=1)
        error, averaged_error = (wrong / counted.sum()).tolist()
        return {"test_error": error, "averaged_test_error": averaged_error}

    def class_probabilities(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        """Computes class probabilities by the averaged parameters, `(N, K)` float64, from what `test_errors` takes."""
        images = np.asarray(images)
        check_integer("batch_size", batch_size, 1)
        check_arrays(images, None, self.image_shape, self.num_classes)
        logits = [
            np.asarray(self.averaged_logits(as_unit_range(images[rows])))[seen:]
            for rows, seen in self._batches(len(images), batch_size)
        ]
        return scipy.special.softmax(np.concatenate(logits).astype("float64"), axis=-1)

    def _batches(self, count: int, batch_size: int) -> list[tuple[slice, int]]:
        """Returns slices of consecutive rows, and how many of each slice's first rows the one before had, too.

        The last is shorter; or, where a layer couples examples, it begins earlier, so that every example is seen among
        as many others. So it is in the published SVHN code.
        """
        starts = range(0, count, batch_size)
        latest = max(0, count - batch_size) if couples_any_examples(self.discriminator) else count
        return [(slice(min(start, latest), start + batch_size), start - min(start, latest)) for start in starts]


def couples_any_examples(network: keras.Model) -> bool:
    """Tells whether an example's output depends on others: D must not see real and generated ones together.

    A layer says so by its attribute `couples_examples`; Keras's batch normalization is known.
    """
    return any(
        getattr(layer, "couples_examples", isinstance(layer, keras.layers.BatchNormalization))
        for layer in network._flatten_layers()
    )
