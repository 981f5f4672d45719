"""CIFAR-10's networks as published, for images in [0, 1] of at least 9 x 9."""

from __future__ import annotations

from typing import Any

import keras

from igan_tf.networks import convolutional
from igan_tf.networks.parts import scaled
from igan_tf.networks.registry import NETWORKS


def build_generator(
    image_shape: tuple[int, int, int] = (32, 32, 3),
    latent_size: int = 100,
    norm: str = "batch",
    reference_size: int = 100,
    width: float = 1.0,
) -> keras.Model:
    """Builds z of 100 -> 4x4x512 -> 8x8x256 -> 16x16x128 -> image. See `convolutional.build_generator`."""
    filters = scaled((512, 256, 128), width)
    return convolutional.build_generator(
        image_shape, latent_size, filters, NETWORKS["cifar10"].latent_range, norm, reference_size
    )


def build_discriminator(
    image_shape: tuple[int, int, int] = (32, 32, 3),
    num_outputs: int = 10,
    minibatch_discrimination: bool = False,
    width: float = 1.0,
    **settings: Any,
) -> keras.Model:
    """Builds image -> 96, 96, 96 / 2 -> 192, 192, 192 / 2 -> 192, 192, 192 -> mean -> logits.

    See `convolutional.build_discriminator`, which takes `settings`.
    """
    filters = scaled((96, 192, 192), width)
    return convolutional.build_discriminator(image_shape, num_outputs, filters, minibatch_discrimination, **settings)
