"""ImageNet's networks as published, for square images in [0, 1] whose side is a power of two.

They follow the published TensorFlow code. The paper's images are 128x128, `gf_dim = df_dim = 64`.
"""

from __future__ import annotations

import math

import keras

from igan_tf.layers import (
    BlockedConv2DTranspose,
    ConcatenateNoise,
    CrossBatchNorm,
    MinibatchDiscrimination,
    SeparateBatchNorm,
    TableGaussianNoise,
)
from igan_tf.networks.parts import GeneratorNorm, normal
from igan_tf.networks.registry import DISCRIMINATOR_NORMS
from igan_tf.precision import output_layers
from igan_tf.types import Tensor

LATENT_RANGE = (-1.0, 1.0)
LATENT_SIZE = 8192
# G begins with 4x4, and D's convolutions end with it.
_FIRST_SIDE = 4
SMALLEST_SIDE, LARGEST_SIDE = 32, 512
# Channels and noise channels of G's maps, from 4x4 on, as multiples of gf_dim; beyond the list the last repeats.
_MAPS = (8, 4, 2, 1, 1, 1)
_NOISE = (1, 1, 1 / 2, 1 / 4, 1 / 8, 1 / 8)
# Filters of D's convolutions as multiples of df_dim, and which of them halve the map first.
_CONVOLUTIONS = (1, 2, 4, 4, 4, 8, 8)
_HALVING = (0, 1, 2, 5, 6, 4, 3)
_DENSE_UNITS = 40


def build_generator(
    image_shape: tuple[int, int, int] = (128, 128, 3),
    latent_size: int = LATENT_SIZE,
    norm: str = "virtual",
    reference_size: int = 16,
    gf_dim: int = 64,
) -> keras.Model:
    """Builds a generator of images in [0, 1].

        z -> dense 4x4 -> [norm, ReLU, noise, 5x5 transposed convolution / 2] * n -> norm, ReLU, noise, 5x5 -> tanh

    At 128 pixels the maps have 512, 256, 128, 64, 64 and 64 channels, to each of which fresh noise U(-1, 1) of 64, 64,
    32, 16, 8 and 8 channels is appended. Every dense and convolutional layer has a bias, as published.

    Args:
        image_shape: `(side, side, channels)`, the side a power of two from 32 to 512.
        latent_size: Length of `z`.
        norm: "virtual", "batch" or "none".
        reference_size: Examples in the reference batch of "virtual".
        gf_dim: The number that all channels are multiples of; a multiple of 8.

    Returns:
        A `keras.Model`: `(N, latent_size) -> (N, side, side, channels)`.

    Raises:
        ValueError: for other image shapes, another `gf_dim` or `norm`.
    """
    doublings = _doublings(image_shape)
    if gf_dim < 8 or gf_dim % 8:
        raise ValueError(f"`gf_dim` must be a multiple of 8. Received: gf_dim={gf_dim}")
    normalize = GeneratorNorm(norm, reference_size, scale=True)
    noise_reference = reference_size if normalize.kind == "virtual" else 0

    def stage(hidden: Tensor, side: int, index: int) -> Tensor:
        """Normalization, ReLU and noise of the map of this side."""
        hidden = normalize(hidden, name=f"norm_{side}")
        hidden = keras.layers.Activation("relu", name=f"relu_{side}")(hidden)
        channels = int(gf_dim * _NOISE[min(index, len(_NOISE) - 1)])
        return ConcatenateNoise(channels, noise_reference, *LATENT_RANGE, name=f"noise_{side}")(hidden)

    latents = keras.Input((latent_size,), name="latents")
    hidden = normalize.begin(latents, LATENT_RANGE)
    first = (_FIRST_SIDE, _FIRST_SIDE, gf_dim * _MAPS[0])
    hidden = keras.layers.Dense(math.prod(first), kernel_initializer=normal(0.02), name="dense")(hidden)
    hidden = stage(keras.layers.Reshape(first, name="map_4")(hidden), _FIRST_SIDE, 0)
    for index in range(1, doublings + 1):
        side = _FIRST_SIDE << index
        filters = gf_dim * _MAPS[min(index, len(_MAPS) - 1)]
        hidden = keras.layers.Conv2DTranspose(
            filters,
            5,
            strides=2,
            padding="same",
            data_format="channels_last",
            kernel_initializer=normal(0.02),
            name=f"deconv_{side}",
        )(hidden)
        hidden = stage(hidden, side, index)
    # Nothing is normalized any more: the reference need not become images.
    pixels = BlockedConv2DTranspose(
        image_shape[-1],
        5,
        activation="tanh",
        kernel_initializer=normal(0.075),
        bias_initializer=keras.initializers.Constant(-0.45),
        name="pixels",
    )(normalize.end(hidden))
    images = keras.layers.Rescaling(0.5, 0.5, name="images")(pixels)
    return keras.Model(latents, images, name="generator")


def build_discriminator(
    image_shape: tuple[int, int, int] = (128, 128, 3),
    num_outputs: int = 1001,
    norm: str = "cross",
    minibatch_discrimination: bool = True,
    df_dim: int = 64,
) -> keras.Model:
    """Builds a discriminator of a joint batch [real; generated].

        image -> noise -> [3x3 convolution, norm, leaky ReLU] * 7 -> [dense, norm, leaky ReLU] -> logits

    The convolutions have 64, 128, 256, 256, 256, 512 and 512 filters; at 128
    pixels all but the fourth and fifth have stride 2, at other sizes as many as lead to 4x4. The dense layer's 2560
    activations are the features, to which minibatch discrimination appends 600.

    Args:
        image_shape: `(side, side, channels)`, the side a power of two from 32 to 512.
        num_outputs: Number of logits.
        norm: "cross": `CrossBatchNorm`; "batch": each half by its own statistics; "none".
        minibatch_discrimination: Whether the features of 300 kernels against each half are appended to the features.
        df_dim: The number that all filters are multiples of; even.

    Returns:
        A `keras.Model`: images -> `{"logits": (N, num_outputs), "features": (N, 40 * df_dim)}`.

    Raises:
        ValueError: for other image shapes, another `df_dim` or `norm`.
    """
    halvings = _doublings(image_shape)
    if df_dim < 2 or df_dim % 2:
        raise ValueError(f"`df_dim` must be even. Received: df_dim={df_dim}")
    if norm not in DISCRIMINATOR_NORMS:
        raise ValueError(f"`norm` must be one of {DISCRIMINATOR_NORMS}. Received: norm={norm!r}")

    def activated(hidden: Tensor, name: str) -> Tensor:
        """Normalization and leaky ReLU."""
        if norm != "none":
            layer = CrossBatchNorm if norm == "cross" else SeparateBatchNorm
            hidden = layer(name=f"norm_{name}")(hidden)
        return keras.layers.LeakyReLU(0.2, name=f"leaky_relu_{name}")(hidden)

    images = keras.Input(image_shape, name="images")
    hidden = keras.layers.Rescaling(2.0, -1.0, name="rescaling")(images)
    hidden = TableGaussianNoise(0.1, name="corruption")(hidden)
    for index, multiple in enumerate(_CONVOLUTIONS):
        hidden = keras.layers.Conv2D(
            df_dim * multiple,
            3,
            strides=2 if index in _HALVING[:halvings] else 1,
            padding="same",
            data_format="channels_last",
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            name=f"conv_{index + 1}",
        )(hidden)
        hidden = activated(hidden, f"{index + 1}")
    hidden = keras.layers.Flatten(data_format="channels_last", name="flatten")(hidden)
    hidden = keras.layers.Dense(df_dim * _DENSE_UNITS, kernel_initializer=normal(0.02), name="dense")(hidden)
    features = hidden = activated(hidden, "dense")
    if minibatch_discrimination:
        hidden = MinibatchDiscrimination(
            num_kernels=300,
            kernel_dim=50,
            num_groups=2,
            weight_norm=False,
            use_bias=False,
            reduction="mean_all_pairs",
            kernel_initializer=normal(0.02),
            name="minibatch_discrimination",
        )(hidden)
    with output_layers():
        logits = keras.layers.Dense(num_outputs, kernel_initializer=normal(0.02), name="logits")(hidden)
    return keras.Model(images, {"logits": logits, "features": features}, name="discriminator")


def _doublings(image_shape: tuple[int, int, int]) -> int:
    """How often 4 is doubled to get to the images' side."""
    height, width, _ = image_shape
    # Of the sizes outside the range some have no logarithm.
    doublings = int(math.log2(height / _FIRST_SIDE)) if SMALLEST_SIDE <= height <= LARGEST_SIDE else 0
    if height != width or not doublings or _FIRST_SIDE << doublings != height:
        raise ValueError(
            f"`image_shape` must be square, its side a power of two from {SMALLEST_SIDE} to {LARGEST_SIDE}. "
            f"Received: image_shape={image_shape}"
        )
    return doublings
