"""CIFAR-10's networks as published, for images in [0, 1] with sides that are multiples of 8, at least 16."""

from igan_tf.networks import convolutional
from igan_tf.networks.parts import scaled
from igan_tf.networks.registry import NETWORKS


def build_generator(image_shape=(32, 32, 3), latent_size=100, norm="batch", reference_size=100, width=1.0):
    """z of 100 -> 4x4x512 -> 8x8x256 -> 16x16x128 -> image. See `convolutional.build_generator`."""
    filters = scaled((512, 256, 128), width)
    return convolutional.build_generator(
        image_shape, latent_size, filters, NETWORKS["cifar10"].latent_range, norm, reference_size
    )


def build_discriminator(
    image_shape=(32, 32, 3), num_outputs=10, minibatch_discrimination=False, width=1.0, corruption="auto"
):
    """Image -> 96, 96, 96 / 2 -> 192, 192, 192 / 2 -> 192, 192, 192 -> mean -> logits. See `convolutional`."""
    filters = scaled((96, 192, 192), width)
    return convolutional.build_discriminator(image_shape, num_outputs, filters, minibatch_discrimination, corruption)
