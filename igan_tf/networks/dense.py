"""Fully connected networks, which MNIST's and the digits' are made from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras

from igan_tf.layers import MinibatchDiscrimination, TableGaussianNoise, WeightNorm
from igan_tf.networks.parts import GeneratorNorm, logits, normal, normalized_weights
from igan_tf.precision import output_layers

# Weight normalization divides it out of the forward pass; it sets how far an optimizer's step goes.
_KERNEL_STDDEV = 0.1


def build_generator(
    image_shape: tuple[int, int, int],
    hidden_units: Sequence[int],
    latent_size: int,
    latent_range: tuple[float, float],
    norm: str,
    reference_size: int,
    pixels_initializer: Any = None,
) -> keras.Model:
    """Builds `z -> [dense, norm, softplus] * n -> weight-normalized dense, sigmoid -> image` in [0, 1].

    Args:
        image_shape: `(height, width, channels)`.
        hidden_units: Units of each hidden layer.
        latent_size: Length of `z`.
        latent_range: Bounds of the uniform distribution of `z`.
        norm, reference_size: See `GeneratorNorm`.
        pixels_initializer: Where the output layer's kernel starts; None: N(0, 0.1). Weight normalization divides its
            size out of the forward pass, but the wider the start, the shorter the first steps of an optimizer.

    Returns:
        A `keras.Model`: `(N, latent_size) -> (N, height, width, channels)`.
    """
    normalize = GeneratorNorm(norm, reference_size)
    latents = keras.Input((latent_size,), name="latents")
    hidden = normalize.begin(latents, latent_range)
    for index, units in enumerate(hidden_units, start=1):
        hidden = keras.layers.Dense(units, use_bias=normalize.use_bias, name=f"dense_{index}")(hidden)
        hidden = normalize(hidden, name=f"norm_{index}")
        hidden = keras.layers.Activation("softplus", name=f"softplus_{index}")(hidden)
    hidden = normalize.end(hidden)
    # With this layer in half precision the discriminator wins outright (`docs/results/mnist_short.md`).
    with output_layers():
        pixels = keras.layers.Dense(
            math.prod(image_shape), "sigmoid", kernel_initializer=pixels_initializer or normal(_KERNEL_STDDEV)
        )
        images = WeightNorm(pixels, name="pixels")(hidden)
        images = keras.layers.Reshape(image_shape, name="images")(images)
    return keras.Model(latents, images, name="generator")


def build_discriminator(
    image_shape: tuple[int, int, int],
    hidden_units: Sequence[int],
    num_outputs: int,
    input_noise: float,
    hidden_noise: float,
    minibatch_discrimination: bool = False,
    corruption: str = "auto",
    weight_norm: str = "weight",
) -> keras.Model:
    """Builds `image -> noise -> [weight-normalized dense, ReLU, noise] * n -> logits`.

    The features are the last hidden layer before its noise. As published, weight normalization has no constant in
    the norm and its scale is trained in the output layer alone; kernels start from N(0, 0.1).

    With minibatch discrimination the last hidden layer has no noise: noise of the features' own size would hide how
    close two images lie. As in the convolutional networks nothing stands between these features and the logits.

    Args:
        image_shape: `(height, width, channels)`.
        hidden_units: Units of each hidden layer.
        num_outputs: Number of logits.
        input_noise: Deviation of the noise on the image.
        hidden_noise: Deviation of the noise after each hidden layer.
        minibatch_discrimination: Whether 100 minibatch features are appended to the features.
        corruption: "auto" or "noise", which are the same here.
        weight_norm: "weight", "spectral" or "none", see `normalized_weights`.

    Returns:
        A `keras.Model`: images -> `{"logits": (N, num_outputs), "features": (N, hidden_units[-1])}`.

    Raises:
        ValueError: for another `corruption` or `weight_norm`.
    """
    if corruption not in ("auto", "noise"):
        raise ValueError(f"`corruption` must be 'auto' or 'noise'. Received: corruption={corruption!r}")
    images = keras.Input(image_shape, name="images")
    hidden = TableGaussianNoise(input_noise, name="noise_0")(
        keras.layers.Flatten(data_format="channels_last", name="flatten")(images)
    )
    for index, units in enumerate(hidden_units, start=1):
        dense = keras.layers.Dense(units, "relu", kernel_initializer=normal(_KERNEL_STDDEV), name=f"dense_{index}")
        features = normalized_weights(dense, weight_norm, train_scale=False, epsilon=0.0)(hidden)
        if minibatch_discrimination and index == len(hidden_units):
            hidden = MinibatchDiscrimination(name="minibatch_discrimination")(features)
        else:
            hidden = TableGaussianNoise(hidden_noise, name=f"noise_{index}")(features)
    outputs = {"logits": logits(hidden, num_outputs, _KERNEL_STDDEV, weight_norm, epsilon=0.0), "features": features}
    return keras.Model(images, outputs, name="discriminator")
