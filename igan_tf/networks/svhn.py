"""SVHN's networks as published: CIFAR-10's, whose discriminator is thinner unless it has minibatch discrimination."""

from igan_tf.networks import cifar10, convolutional
from igan_tf.networks.cifar10 import (
    INITIALIZES_FROM_LABELLED,
    INITIALIZES_GENERATOR,
    LATENT_RANGE,
    build_generator,
)
from igan_tf.networks.parts import scaled

__all__ = [
    "INITIALIZES_FROM_LABELLED",
    "INITIALIZES_GENERATOR",
    "LATENT_RANGE",
    "build_discriminator",
    "build_generator",
]


def build_discriminator(image_shape=(32, 32, 3), num_outputs=10, minibatch_discrimination=False, width=1.0):
    """Image -> 64, 64, 64 / 2 -> 128, 128, 128 / 2 -> 128, 128, 128 -> mean -> logits. See `convolutional`."""
    if minibatch_discrimination:
        return cifar10.build_discriminator(image_shape, num_outputs, minibatch_discrimination, width)
    filters = scaled((64, 128, 128), width)
    return convolutional.build_discriminator(image_shape, num_outputs, filters, minibatch_discrimination)
