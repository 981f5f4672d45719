"""What users hand to a GAN: images and labels in the one form that the training step has, or refused by name.

What a traced step knows, type and shape, is checked where the data enters the model, and costs no step anything.
Values are looked at where they are at hand: in arrays, before `fit` or `evaluate` begins.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from igan_tf.errors import DataError, InputError, renamed
from igan_tf.images.arrays import as_unit_range
from igan_tf.losses import UNLABELLED
from igan_tf.types import Shape

# Above this no image in [0, 1] comes, however resampled.
_BRIGHTEST = 2
# Nor any normalized image.
_FURTHEST = 10


def check_integer(name: str, value: Any, low: int) -> None:
    """Raises an InputError where an argument is no integer of at least `low`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < low:
        raise InputError(f"`{name}` must be an integer of at least {low}. Received: {name}={value!r}")


def check_weight(name: str, value: float) -> None:
    """Raises an InputError where a weight is negative, infinite or NaN."""
    if not 0 <= value < math.inf:
        raise InputError(f"`{name}` must not be negative or infinite. Received: {name}={value}")


def as_images(images: Any, image_shape: Shape, name: str = "images") -> Any:
    """Returns images in the generator's range: uint8 divided by 255, floats as they are.

    Args:
        images: `(N, *image_shape)`, uint8 or floating point; a tensor, of a graph too, or an array.
        image_shape: Shape of one of the generator's images; None where a size is not known.
        name: What they are called, for messages.

    Raises:
        DataError: for another type or shape.
    """
    check_shape(images, image_shape, name)
    if getattr(images.shape, "rank", 0) is None:
        images = tf.ensure_shape(images, (None, *image_shape))
    with renamed(images=name):
        return as_unit_range(images)


def check_shape(images: Any, image_shape: Shape, name: str = "images") -> None:
    """Raises a DataError where images have another shape than the generator's, as far as it is known."""
    shape = images.shape
    if getattr(shape, "rank", len(image_shape)) is not None:
        sizes = list(zip(shape[1:], image_shape))
        if len(shape) != len(image_shape) + 1 or any(None not in pair and pair[0] != pair[1] for pair in sizes):
            expected = ", ".join(map(str, ("N", *image_shape)))
            raise DataError(
                f"`{name}` must have the generator's shape, ({expected}). Received: {name}.shape={tuple(shape)}"
            )


def as_labels(labels: Any) -> Any:
    """Returns labels as `(N,)`; they may come as `(N, 1)`.

    Raises:
        DataError: for another shape, and for a type that is no integer.
    """
    shape, name = labels.shape, getattr(labels.dtype, "name", labels.dtype)
    known = getattr(shape, "rank", 1) is not None
    if not name.startswith(("int", "uint")) or (known and not (len(shape) == 1 or tuple(shape[1:]) in ((1,), (None,)))):
        raise DataError(
            "`labels` must be integers, of shape (N,) or (N, 1). "
            f"Received: labels.dtype={name}, labels.shape={tuple(shape) if known else shape}"
        )
    return labels.reshape(-1) if isinstance(labels, np.ndarray) else tf.reshape(labels, [-1])


def as_batch(data: Any, image_shape: Shape, names: Collection[str], needed: Collection[str]) -> dict[str, Any]:
    """Returns the dict form of what `fit` hands over, images and labels as above.

    Args:
        data: `images`, `(images, labels)` or a dict.
        image_shape: Of the generator.
        names: What `images` are called in the dict, each of them; "labelled_images" only where there are labels.
        needed: What the dict must have.

    Raises:
        DataError: for images or labels of another form, or missing, and for weights of examples, which no loss of this
            package has.
    """
    images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
    if weights is not None:
        raise DataError(
            "`sample_weight` and `class_weight` must be left out: no loss of this GAN weighs its examples. "
            f"Received: weights of shape {tuple(weights.shape)}"
        )
    batch = {} if labels is None else {"labels": labels}
    if isinstance(images, dict):
        if labels is not None:
            raise DataError(f"`labels` must be in the dict of images. Received: a dict of {sorted(images)}, and labels")
        batch = images
    else:
        batch |= {name: images for name in names if labels is not None or name != "labelled_images"}
    # One without the other would go unused.
    pair = {"labelled_images", "labels"} if "labelled_images" in names else set()
    if missing := sorted((set(needed) | (pair if pair & batch.keys() else set())) - batch.keys()):
        raise DataError(f"`data` must hold {' and '.join(missing)}. Received: data of {', '.join(sorted(batch))}")
    return {name: _checked(name, value, image_shape) for name, value in batch.items()}


def _checked(name: str, value: Any, image_shape: Shape) -> Any:
    if name == "labels":
        return as_labels(value)
    return as_images(value, image_shape, name) if "images" in name else value


def check_arrays(images: Any, labels: Any, image_shape: Shape, num_classes: int, some_labelled: bool = False) -> None:
    """Refuses arrays of images and labels whose values cannot be meant; passes by what is no array, such as data sets.

    Args:
        images: Array `(N, *image_shape)`, uint8 or floating point, or a dict of such arrays and "labels".
        labels: Array of integers `(N,)` or `(N, 1)`, each a class or -1 for an unlabelled example; or None.
        image_shape: Of the generator.
        num_classes: How many classes there are.
        some_labelled: Whether all labels may not be -1.

    Raises:
        DataError: for another type or shape, floats that are not finite or run to 255, a label that is no class.
    """
    named = images if isinstance(images, dict) else {"images": images, "labels": labels}
    for name, array in named.items():
        # NumPy's arrays and TensorFlow's eager tensors.
        if not (hasattr(array, "shape") and hasattr(array, "__array__")):
            continue
        array = np.asarray(array)
        if name == "labels":
            _check_classes(as_labels(array), num_classes, some_labelled)
        elif "images" in name:
            check_shape(array, image_shape, name)
            as_images(array[:0], image_shape, name)
            _check_pixels(array, name)


def _check_pixels(images: np.ndarray, name: str) -> None:
    if not images.size:
        raise DataError(f"`{name}` must be at least one. Received: {name}.shape={images.shape}")
    if images.dtype == "uint8":
        return
    low, high = images.min(), images.max()
    if not np.isfinite(float(low)) or not np.isfinite(float(high)):
        raise DataError(f"`{name}` must be finite. Received: NaN or infinity in {name}")
    # Only pixels: other data, and networks, may have any range, such as a few deviations about their mean.
    if images.ndim == 4 and (high > _BRIGHTEST if low >= 0 else max(-low, high) > _FURTHEST):
        raise DataError(
            f"`{name}` must be uint8, or floats in [0, 1]: divide them by their white. "
            f"Received: {name} of type {images.dtype} from {low:g} to {high:g}"
        )


def _check_classes(labels: np.ndarray, num_classes: int, some_labelled: bool) -> None:
    wrong = (labels < UNLABELLED) | (labels >= num_classes)
    if wrong.any():
        raise DataError(
            f"`labels` must be classes from 0 to {num_classes - 1}, or {UNLABELLED} for an unlabelled example. "
            f"Received: labels with {labels[wrong][0]}"
        )
    if some_labelled and not (labels != UNLABELLED).any():
        raise DataError(f"`labels` must have a class for one example at least. Received: {len(labels)} of {UNLABELLED}")


class UserData:
    """Checks the arrays that users hand to a Keras model's `fit` and its likes; inherit from it before `keras.Model`.

    The model has the attributes below.

    Attributes:
        image_shape: Shape of one of the generator's images.
        num_classes: How many classes labels have.
    """

    image_shape: Shape
    num_classes: int

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Trains as `keras.Model.fit` does, on arrays of images and labels, or a data set of the step's batches.

        Args:
            x: Images, `(N, height, width, channels)`, uint8 or floats in [0, 1]; or a dict, or data set, as of
                `train_step`.
            y: Labels, integers `(N,)` or `(N, 1)`; -1 for an unlabelled example.
            *args, **kwargs: Those of `keras.Model.fit`, but for `class_weight` and `sample_weight`.

        Returns:
            Keras's `History`.

        Raises:
            DataError: for images or labels of another shape, type or range, and for weights of examples.
        """
        self._check_arrays(x, y)
        validation = kwargs.get("validation_data")
        if isinstance(validation, (tuple, list)):
            self._check_arrays(*validation[:2])
        return super().fit(x, y, *args, **kwargs)  # type: ignore[misc]

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluates as `keras.Model.evaluate` does, on what `fit` takes."""
        self._check_arrays(x, y, some_labelled=True)
        return super().evaluate(x, y, *args, **kwargs)  # type: ignore[misc]

    def train_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Takes one step as `keras.Model.train_on_batch` does, on what `fit` takes."""
        self._check_arrays(x, y)
        return super().train_on_batch(x, y, *args, **kwargs)  # type: ignore[misc]

    def test_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluates one batch as `keras.Model.test_on_batch` does, on what `fit` takes."""
        self._check_arrays(x, y)
        return super().test_on_batch(x, y, *args, **kwargs)  # type: ignore[misc]

    def _check_arrays(self, images: Any, labels: Any = None, some_labelled: bool = False) -> None:
        check_arrays(images, labels, self.image_shape, self.num_classes, some_labelled)
