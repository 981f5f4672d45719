"""Convolutional networks, which CIFAR-10's, SVHN's and one of MNIST's are made from.

Images are in [0, 1] outside: every network of this package takes and gives one range. Inside they are in [-1, 1], where
`centred` does not say otherwise, and have sides that are multiples of 8: others get a border of zeros in the
discriminator, and the generator's are cropped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras

from igan_tf.layers import MinibatchDiscrimination, TableGaussianNoise, WeightNorm
from igan_tf.networks.parts import GeneratorNorm, logits, normal, normalized_weights
from igan_tf.networks.registry import INPUT_CORRUPTIONS

KERNEL_STDDEV = 0.05
_OUTPUT_INIT_STD = 0.1


def build_generator(
    image_shape: tuple[int, int, int],
    latent_size: int,
    filters: Sequence[int],
    latent_range: tuple[float, float],
    norm: str,
    reference_size: int,
    centred: bool = True,
) -> keras.Model:
    """Builds a generator of images in [0, 1].

        z -> dense -> [5x5 transposed convolution / 2] * (n - 1) -> weight-normalized one, tanh -> image

    With n `filters` each of these convolutions doubles the sides, from `ceil(side / 2^n)` after the dense layer. The
    dense layer and the hidden convolutions are normalized, then ReLU. For sides that are no multiples of 2^n the image
    is cropped.

    Args:
        image_shape: `(height, width, channels)`.
        latent_size: Length of `z`.
        filters: Channels after the dense layer and after each hidden convolution.
        latent_range: Bounds of the uniform distribution of `z`.
        norm, reference_size: See `GeneratorNorm`.
        centred: Whether images are made in [-1, 1], by tanh, and then brought to [0, 1]; otherwise by a sigmoid.

    Returns:
        A `keras.Model`: `(N, latent_size) -> (N, height, width, channels)`.
    """
    height, width, channels = image_shape
    multiple = 2 ** len(filters)
    rows, columns = math.ceil(height / multiple), math.ceil(width / multiple)
    normalize = GeneratorNorm(norm, reference_size)
    first, *others = filters
    latents = keras.Input((latent_size,), name="latents")
    hidden = normalize.begin(latents, latent_range)
    hidden = keras.layers.Dense(
        rows * columns * first, use_bias=normalize.use_bias, kernel_initializer=normal(KERNEL_STDDEV), name="dense_1"
    )(hidden)
    # Before the reshape: as published, each of these units has statistics of its own.
    hidden = normalize(hidden, name="norm_1")
    hidden = keras.layers.Activation("relu", name="relu_1")(hidden)
    hidden = keras.layers.Reshape((rows, columns, first), name="map_1")(hidden)
    for index, count in enumerate(others, start=2):
        hidden = _upsample(count, f"deconv_{index}", use_bias=normalize.use_bias)(hidden)
        hidden = normalize(hidden, name=f"norm_{index}")
        hidden = keras.layers.Activation("relu", name=f"relu_{index}")(hidden)
    pixels = _upsample(channels, "pixels_deconv", activation="tanh" if centred else "sigmoid")
    images = WeightNorm(pixels, init_std=_OUTPUT_INIT_STD, name="pixels")(normalize.end(hidden))
    if sides := _border(image_shape, multiple):
        images = keras.layers.Cropping2D(sides, data_format="channels_last", name="crop")(images)
    if centred:
        images = keras.layers.Rescaling(0.5, 0.5, name="images")(images)
    return keras.Model(latents, images, name="generator")


def _border(image_shape: tuple[int, int, int], multiple: int) -> tuple[tuple[int, int], ...]:
    """Rows above and below, columns left and right, that make the sides multiples; empty where they are."""
    missing = [-side % multiple for side in image_shape[:2]]
    return tuple((count // 2, count - count // 2) for count in missing) if any(missing) else ()


def _upsample(filters: int, name: str, **kwargs: Any) -> keras.layers.Layer:
    return keras.layers.Conv2DTranspose(
        filters,
        5,
        strides=2,
        padding="same",
        data_format="channels_last",
        kernel_initializer=normal(KERNEL_STDDEV),
        name=name,
        **kwargs,
    )


def build_discriminator(
    image_shape: tuple[int, int, int],
    num_outputs: int,
    filters: Sequence[int],
    minibatch_discrimination: bool = False,
    corruption: str = "auto",
    weight_norm: str = "weight",
    centred: bool = True,
) -> keras.Model:
    """Builds nine weight-normalized convolutions with leaky ReLU, mean over positions, logits.

    Three 3x3 of the first width, the last with stride 2; three of the second, likewise; then of the third width one
    3x3 without padding and two 1x1. Dropout or noise of 0.2 on the image, dropout of 0.5 after each stride. The
    features are the means over positions, the minibatch features come after them. Images whose sides are no multiples
    of 8 get a border of zeros, which has no noise.

    Args:
        image_shape: `(height, width, channels)`, at least 9 x 9.
        num_outputs: Number of logits.
        filters: The three widths.
        minibatch_discrimination: Whether 100 minibatch features are appended to the features.
        corruption: Of the image: "dropout", "noise", or "auto": as published, noise beside minibatch discrimination.
        weight_norm: "weight", "spectral" or "none", see `normalized_weights`.
        centred: Whether images are brought to [-1, 1] first. Corruption and border see what it gives.

    Returns:
        A `keras.Model`: images -> `{"logits": (N, num_outputs), "features": (N, filters[2])}`.

    Raises:
        ValueError: for smaller images, another `corruption` or `weight_norm`.
    """
    if corruption not in INPUT_CORRUPTIONS:
        raise ValueError(f"`corruption` must be one of {INPUT_CORRUPTIONS}. Received: corruption={corruption!r}")
    if min(image_shape[:2]) < 9:
        raise ValueError(f"`image_shape` must be at least 9 x 9. Received: image_shape={image_shape}")

    def convolution(count: int, size: int, name: str, **settings: Any) -> keras.layers.Layer:
        layer = keras.layers.Conv2D(
            count,
            size,
            data_format="channels_last",
            activation="leaky_relu",
            kernel_initializer=normal(KERNEL_STDDEV),
            name=name,
            **settings,
        )
        return normalized_weights(layer, weight_norm, train_scale=False)

    images = keras.Input(image_shape, name="images")
    hidden = keras.layers.Rescaling(2.0, -1.0, name="rescaling")(images) if centred else images
    # Every layer has a name: one that Keras numbers could meet another's.
    if corruption == "auto":
        corruption = "noise" if minibatch_discrimination else "dropout"
    layer = TableGaussianNoise if corruption == "noise" else keras.layers.Dropout
    hidden = layer(0.2, name="corruption")(hidden)
    if sides := _border(image_shape, 8):
        hidden = keras.layers.ZeroPadding2D(sides, data_format="channels_last", name="border")(hidden)
    first, second, third = filters
    for block, count in enumerate((first, second), start=1):
        for index, strides in enumerate((1, 1, 2), start=1):
            hidden = convolution(count, 3, f"conv_{block}_{index}", strides=strides, padding="same")(hidden)
        hidden = keras.layers.Dropout(0.5, name=f"dropout_{block}")(hidden)
    for index, size in enumerate((3, 1, 1), start=1):
        hidden = convolution(third, size, f"conv_3_{index}", padding="valid")(hidden)
    features = keras.layers.GlobalAveragePooling2D(data_format="channels_last", name="features")(hidden)
    hidden = features
    if minibatch_discrimination:
        hidden = MinibatchDiscrimination(name="minibatch_discrimination")(hidden)
    last = logits(hidden, num_outputs, KERNEL_STDDEV, weight_norm, init_std=_OUTPUT_INIT_STD)
    return keras.Model(images, {"logits": last, "features": features}, name="discriminator")
