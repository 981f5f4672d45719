"""One interface to every classifier: images in, logits or probabilities and features out."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from igan_tf.errors import EvaluationError, counted
from igan_tf.images.arrays import holds_range
from igan_tf.metrics.checks import are_probabilities

RESIZE = "bilinear with half-pixel centres, antialiased where it shrinks"


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What a classifier says of N images.

    Attributes:
        values: `(N, K)` float32: logits, or probabilities where the classifier has no logits.
        features: `(N, D)` float32.
    """

    values: np.ndarray
    features: np.ndarray


class Classifier:
    """A network, how images reach it, and what it is called in a record of scores.

    Images of any size, one size a call, uint8 or floating point in a declared range, grey or RGB, are checked,
    scaled to the network's range, resized once (`RESIZE`; aspect ratios are not kept) and passed on in batches.

    Args:
        function: float32 `(n, height, width, channels)` tensor in `value_range` -> (values, features).
        name: For the record.
        digest: SHA-256 of the weights in hexadecimal, or "none" where there is no file.
        value_range: The pixel range that the network expects, for black and white.
        from_logits: Whether its values are logits.
        input_size: `(height, width)` of its input; None: any.
        channels: 3 or 1.
        whole_pixels: Whether pixels are rounded to whole numbers of its range, as for a quantized network.
        test_error: Its error on labelled test images, as a fraction, where it is known.
        own_resize: Whether the network itself resizes images, of any size, to `input_size`.
    """

    def __init__(
        self,
        function: Callable[[Any], tuple[Any, Any]],
        name: str,
        digest: str,
        value_range: Sequence[float],
        from_logits: bool,
        input_size: Sequence[int] | None = None,
        channels: int = 3,
        whole_pixels: bool = False,
        test_error: float | None = None,
        own_resize: bool = False,
    ):
        self._function = function
        self.name = name
        self.digest = digest
        self.value_range = tuple(map(float, value_range))
        self.from_logits = from_logits
        self.input_size = None if input_size is None else tuple(input_size)
        self.channels = channels
        self.whole_pixels = whole_pixels
        self.test_error = test_error
        self.own_resize = own_resize
        self._prepare = tf.function(self._prepared, reduce_retracing=True, autograph=False)

    @property
    def protocol(self) -> str:
        """How images reach the network, in one line."""
        low, high = self.value_range
        size = "as they come"
        if self.input_size is not None:
            how = "by the network itself" if self.own_resize else RESIZE
            size = f"to {'x'.join(map(str, self.input_size))}, {how}"
        pixels = ", whole numbers" if self.whole_pixels else ""
        outputs = "logits" if self.from_logits else "probabilities"
        return f"resize: {size}; {self.channels} channels in [{low:g}, {high:.6g}]{pixels}; {outputs}"

    @property
    def about(self) -> dict[str, str]:
        """What tells it from others, for a record of scores."""
        return {"name": self.name, "sha256": self.digest, "protocol": self.protocol}

    def __call__(self, images: Any, image_range: tuple[float, float] | None = None, batch_size: int = 64) -> Outputs:
        """Classifies images.

        Args:
            images: `(N, height, width, channels)`, uint8, or floating point in `image_range`.
            image_range: The values of black and white in floating-point images; (0, 1) for None.
            batch_size: Images in one pass of the network.

        Returns:
            `Outputs`.

        Raises:
            EvaluationError: for another shape or type, values outside of the range, NaN; for a network that does not
                give one row of values and one of features for each image, all finite, or whose values are not the
                logits or probabilities that they are said to be.
        """
        images = check_images(images, image_range, self.channels)
        low, high = (0.0, 255.0) if images.dtype == "uint8" else (image_range or (0.0, 1.0))
        all_values: list[np.ndarray] = []
        all_features: list[np.ndarray] = []
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            outputs = [np.asarray(output, "float32") for output in self._function(self._prepare(batch, low, high))]
            shapes = [output.shape for output in outputs]
            if any(shape[:1] != (len(batch),) for shape in shapes):
                # One row for a whole batch would be taken for every image's.
                count = counted(len(batch), "image")
                raise EvaluationError(
                    f"{self.name} must give a row of values and one of features for each of {count}. "
                    f"Received: outputs of the shapes {shapes[0]} and {shapes[1]}"
                )
            for parts, output in zip((all_values, all_features), outputs):
                parts.append(output.reshape(len(batch), -1))
        together = Outputs(np.concatenate(all_values), np.concatenate(all_features))
        self._check(together)
        return together

    def _check(self, outputs: Outputs) -> None:
        """Refuses what scores would refuse once all images are classified."""
        values = outputs.values
        for what, numbers in (("values", values), ("features", outputs.features)):
            if not np.isfinite(numbers).all():
                raise EvaluationError(f"{self.name} must give finite {what}. Received: NaN or infinity among them")
        if not self.from_logits and (values.min() < 0 or not values.sum(axis=1).all()):
            raise EvaluationError(
                f"{self.name} must give probabilities, none of them negative and not all of a row 0: logits go with "
                f"from_logits=True. Received: values from {values.min():.6g} to {values.max():.6g}"
            )
        # The logits of one image may sum to 1 by chance.
        if self.from_logits and len(values) > 1 and are_probabilities(values):
            # A softmax may hide in an inner model: scores of a softmax of it would be small and wrong.
            raise EvaluationError(
                f"{self.name} gives probabilities where logits are expected; leave out its softmax, make it the last "
                "layer, or say from_logits=False"
            )

    def _prepared(self, images: tf.Tensor, low: float, high: float) -> tf.Tensor:
        """Scales pixels to the network's range and resizes the images once."""
        if images.shape[-1] != self.channels:
            images = tf.repeat(images, self.channels, axis=-1)
        size = None if self.own_resize else self.input_size
        # Bytes for a network of bytes come out as they were: float32 has x / 255 * 255 = x for each of them.
        unit = (tf.cast(images, tf.float32) - low) / (high - low)
        if size is not None:
            unit = resize(unit, size)
        black, white = self.value_range
        pixels = black + unit * (white - black)
        return tf.round(pixels) if self.whole_pixels else pixels


def resize(images: Any, size: Sequence[int]) -> tf.Tensor:
    """Resizes `(N, height, width, channels)` floats to `(height, width)`: see `RESIZE`."""
    height, width = images.shape[1:3]
    if (height, width) == tuple(size):
        return images
    # Where nothing shrinks, the operation without antialiasing gives the same and is several times faster.
    shrinks = height is None or width is None or height > size[0] or width > size[1]
    return tf.image.resize(images, size, antialias=shrinks)


def check_images(images: Any, image_range: tuple[float, float] | None, channels: int) -> np.ndarray:
    """Returns images as an array that a network of `channels` can take.

    Raises:
        EvaluationError: for another shape or type, values outside of the range, NaN.
    """
    with contextlib.suppress(ValueError):
        images = np.asarray(images)
    if not isinstance(images, np.ndarray) or images.dtype == object:
        raise EvaluationError("`images` must all have one size. Received: images of several sizes")
    if images.ndim != 4 or 0 in images.shape:
        raise EvaluationError(
            f"`images` must have the shape (N, height, width, channels). Received: images of shape {images.shape}"
        )
    if images.shape[-1] not in (1, channels):
        raise EvaluationError(
            f"`images` must have {'1 channel' if channels == 1 else f'1 or {channels} channels'} for this classifier. "
            f"Received: images of shape {images.shape}"
        )
    if images.dtype == "uint8":
        if image_range not in (None, (0, 255)):
            raise EvaluationError(f"`image_range` of uint8 images is (0, 255). Received: image_range={image_range}")
        return images
    # TensorFlow has no floats of more than 64 bits.
    if images.dtype.kind != "f" or images.dtype.itemsize > 8:
        raise EvaluationError(
            f"`images` must be uint8, or floating point of at most 64 bits. Received: images of dtype {images.dtype}"
        )
    low, high = image_range or (0.0, 1.0)
    if not low < high:
        raise EvaluationError(f"`image_range` must be (black, white). Received: image_range={image_range}")
    lowest, highest = images.min(), images.max()
    if not np.isfinite([lowest, highest]).all():
        raise EvaluationError("`images` must be finite. Received: NaN or infinity among the pixels")
    if not holds_range((low, high), lowest, highest):
        raise EvaluationError(
            f"`images` must be in the declared range from {low:g} to {high:g}. "
            f"Received: values from {lowest:.6g} to {highest:.6g}; say image_range=(black, white), or pass uint8"
        )
    return np.clip(images, low, high)
