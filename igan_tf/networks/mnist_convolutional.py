"""MNIST's networks of the published experiment with minibatch discrimination: CIFAR-10's at 28x28."""

from __future__ import annotations

from typing import Any

import keras

from igan_tf.networks import cifar10


def build_generator(
    image_shape: tuple[int, int, int] = (28, 28, 1),
    latent_size: int = 100,
    norm: str = "batch",
    reference_size: int = 100,
    width: float = 1.0,
) -> keras.Model:
    """Builds z of 100 -> 4x4x512 -> 8x8x256 -> 16x16x128 -> 32x32, cropped. See `convolutional.build_generator`."""
    return cifar10.build_generator(image_shape, latent_size, norm, reference_size, width)


def build_discriminator(
    image_shape: tuple[int, int, int] = (28, 28, 1),
    num_outputs: int = 10,
    minibatch_discrimination: bool = False,
    width: float = 1.0,
    **settings: Any,
) -> keras.Model:
    """Builds CIFAR-10's discriminator for images that stay in [0, 1], with a black border.

    See `convolutional.build_discriminator`, which takes `settings`.
    """
    return cifar10.build_discriminator(
        image_shape, num_outputs, minibatch_discrimination, width, centred=False, **settings
    )
