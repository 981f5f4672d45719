"""SVHN's networks as published: CIFAR-10's, whose discriminator is thinner unless it has minibatch discrimination."""

from __future__ import annotations

from typing import Any

import keras

from igan_tf.networks import cifar10, convolutional
from igan_tf.networks.parts import scaled

build_generator = cifar10.build_generator


def build_discriminator(
    image_shape: tuple[int, int, int] = (32, 32, 3),
    num_outputs: int = 10,
    minibatch_discrimination: bool = False,
    width: float = 1.0,
    **settings: Any,
) -> keras.Model:
    """Builds image -> 64, 64, 64 / 2 -> 128, 128, 128 / 2 -> 128, 128, 128 -> mean -> logits.

    See `convolutional.build_discriminator`, which takes `settings`.
    """
    if minibatch_discrimination:
        return cifar10.build_discriminator(image_shape, num_outputs, minibatch_discrimination, width, **settings)
    filters = scaled((64, 128, 128), width)
    return convolutional.build_discriminator(image_shape, num_outputs, filters, minibatch_discrimination, **settings)
