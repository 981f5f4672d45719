"""Random changes of images that gradients pass through, for discriminators with few real images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from igan_tf.layers.seeds import HostSeedGenerator
from igan_tf.types import Tensor

KINDS = ("color", "translation", "cutout")
# Of Zhao et al.'s code, whose images reach from -1 to 1: here halved, and what it fills with 0 gets the middle.
_BRIGHTNESS, _FILL = 0.25, 0.5
_TRANSLATION, _CUTOUT = 0.125, 0.5


@keras.saving.register_keras_serializable("igan_tf")
class DifferentiableAugmentation(keras.layers.Layer):
    """Changes each image at random while training, in ways that gradients pass through.

    At the head of a discriminator it changes real and generated images alike, in the updates of both players: the
    discriminator cannot learn few real images by heart, and the generator does not learn the changes. For images
    (N, H, W, C) in [0, 1], of each image x independently, in this order:

        color:        x <- x + b,                    b of U(-0.25, 0.25)
                      x <- (x - m) * s + m,          s of U(0, 2), m (H, W, 1) the mean over channels
                      x <- (x - n) * c + n,          c of U(0.5, 1.5), n the mean over all of x
        translation:  x moves by up to an eighth of its height and width, whole pixels; what comes in is 0.5
        cutout:       a rectangle of half the height and half the width becomes 0.5; its centre lies anywhere

    Training and inference differ: in inference the images stay. Under `tf.distribute` each replica draws its own where
    the caller sees to it, as this package's models do. Values may leave [0, 1].

    Args:
        kinds: Which of "color", "translation" and "cutout"; their order does not matter.
        seed: Integer, or None for one drawn by Keras (see `keras.utils.set_random_seed`).
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        inputs: Floating point tensor, channels last.
        training: Whether to change the images.

    Input shape: `(N, H, W, C)`.

    Output shape: that of the input.

    Raises:
        ValueError: for other `kinds`, or none.

    ```python
    augment = DifferentiableAugmentation(["translation", "cutout"])
    images = keras.Input((32, 32, 3))
    hidden = keras.layers.Conv2D(16, 3, strides=2, activation="leaky_relu")(augment(images))
    discriminator = keras.Model(images, keras.layers.Dense(1)(keras.layers.Flatten()(hidden)))
    ```

    Reference: Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training", 2020, arXiv:2006.10738.

    Differs from the original code: nothing but the range of the images.
    """

    def __init__(self, kinds: Sequence[str] = KINDS, seed: int | None = None, **kwargs: Any) -> None:
        if isinstance(kinds, str) or not kinds or not set(kinds) <= set(KINDS):
            raise ValueError(f"`kinds` must be one or more of {', '.join(KINDS)}. Received: kinds={kinds}")
        super().__init__(**kwargs)
        self.kinds = [kind for kind in KINDS if kind in kinds]
        self.seed = seed
        self.seed_generator = HostSeedGenerator(seed)
        self.built = True

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training:
            return inputs
        images = ops.cast(inputs, self.compute_dtype)
        for kind in self.kinds:
            images = getattr(self, f"_{kind}")(images)
        return images

    def _color(self, images: Tensor) -> Tensor:
        images = images + self._uniform(images, -_BRIGHTNESS, _BRIGHTNESS)
        mean = ops.mean(images, axis=3, keepdims=True)
        images = (images - mean) * self._uniform(images, 0.0, 2.0) + mean
        mean = ops.mean(images, axis=(1, 2, 3), keepdims=True)
        return (images - mean) * self._uniform(images, 0.5, 1.5) + mean

    def _translation(self, images: Tensor) -> Tensor:
        # From the middle, so that what comes in is 0.
        images = images - _FILL
        for axis in (1, 2):
            size = images.shape[axis]
            most = int(size * _TRANSLATION + 0.5)
            places = ops.arange(size)[None] + self._whole(images, -most, most + 1)
            inside = ops.cast((places >= 0) & (places < size), images.dtype)
            # One lookup of whole rows, or of whole columns.
            first = ops.swapaxes(images, 1, axis)
            _, rows, columns, channels = first.shape
            flat = ops.reshape(first, (-1, columns * channels))
            start = ops.arange(ops.shape(images)[0])[:, None] * rows
            moved = ops.take(flat, ops.clip(places, 0, size - 1) + start, axis=0) * inside[..., None]
            images = ops.swapaxes(ops.reshape(moved, (-1, rows, columns, channels)), 1, axis)
        return images + _FILL

    def _cutout(self, images: Tensor) -> Tensor:
        within: list[Tensor] = []
        for axis in (1, 2):
            size = images.shape[axis]
            length = int(size * _CUTOUT + 0.5)
            start = self._whole(images, 0, size + 1 - length % 2) - length // 2
            places = ops.arange(size)[None]
            within.append((places >= start) & (places < start + length))
        cut = within[0][:, :, None, None] & within[1][:, None, :, None]
        return ops.where(cut, ops.cast(_FILL, images.dtype), images)

    def _uniform(self, images: Tensor, low: float, high: float) -> Tensor:
        """One number an image, `(N, 1, 1, 1)`."""
        return keras.random.uniform((ops.shape(images)[0], 1, 1, 1), low, high, images.dtype, self.seed_generator)

    def _whole(self, images: Tensor, low: int, high: int) -> Tensor:
        """One whole number an image, `(N, 1)`, `high` excluded."""
        return keras.random.randint((ops.shape(images)[0], 1), low, high, "int32", self.seed_generator)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Sequence[int | None]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kinds": self.kinds, "seed": self.seed}
