"""Generated images as training data: what a classifier learns from them, tested on real ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from igan_tf.data.image_data import ImageData
from igan_tf.errors import EvaluationError, counted
from igan_tf.evaluation.classifiers.domain import error_of, train_network
from igan_tf.images.arrays import as_unit_range
from igan_tf.models.sampling import BATCH_SIZE

if TYPE_CHECKING:
    from igan_tf.models.semi_supervised_gan import SemiSupervisedGAN


def compare_training_data(
    model: SemiSupervisedGAN,
    data: ImageData,
    count: int,
    seed: int = 0,
    report: Callable[[str], Any] = print,
) -> dict[str, Any]:
    """Trains the same network on generated and on real images and tests both on real test images.

    Generated images get the class that the semi-supervised discriminator, with averaged parameters, gives them. The
    real set is a draw of the same size, or all where there are fewer real images.

    Args:
        model: A trained `SemiSupervisedGAN` whose discriminator has the data's classes.
        data: The `ImageData` that it was trained on.
        count: How many images to generate.
        seed: Of the latents, of the draw of real images and of the classifiers.
        report: Called with each line for the user.

    Returns:
        Dict of errors, as fractions of the test set, and of the sizes of the sets.

    Raises:
        EvaluationError: as of `check_comparable`.
    """
    check_comparable(model, data)
    images, labels = labelled_samples(model, count, seed)
    real_images, real_labels = _labelled(data, count, seed)
    result: dict[str, Any] = {
        "generated_images": len(images),
        "real_images": len(real_images),
        "test_images": len(data.test_labels),
    }
    for name, chosen, classes in (("generated", images, labels), ("real", real_images, real_labels)):
        report(f"training a classifier on {counted(len(chosen), f'{name} image')}")
        network = train_network(chosen, classes, data.num_classes, seed)
        result[f"{name}_training_error"] = error_of(network, data.test_images, data.test_labels)
    shares = np.bincount(labels, minlength=data.num_classes) / len(labels)
    # Explains a high error: a class that is never generated cannot be learned.
    result["smallest_generated_class"] = float(shares.min())
    return result


def check_comparable(model: SemiSupervisedGAN, data: ImageData) -> None:
    """Raises an EvaluationError for a model without classes, or data without labels or test images."""
    if model.num_outputs != data.num_classes or data.num_classes < 2:
        raise EvaluationError(
            "`model` must have been trained with labels: its discriminator labels the images. "
            f"Received: a discriminator of {counted(model.num_outputs, 'output')} for "
            f"{counted(data.num_classes, 'class')}"
        )
    if not len(data.test_labels):
        raise EvaluationError("`data` must have real test images. Received: data without a test set")


def labelled_samples(model: SemiSupervisedGAN, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Generated images with the class that the discriminator gives each.

    Returns:
        `(count, height, width, channels)` float32 and `(count,)` int64.
    """
    images = model.generate(count, seed)
    return images, model.class_probabilities(images, BATCH_SIZE).argmax(axis=-1)


def _labelled(data: ImageData, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    labelled = np.flatnonzero(data.train_labels >= 0)
    if len(labelled) > count:
        labelled = np.sort(np.random.default_rng(seed).choice(labelled, count, replace=False))
    return as_unit_range(data.train_images[labelled]), data.train_labels[labelled]
