"""MNIST's networks as published, for images of any size in [0, 1]."""

from igan_tf.networks import dense
from igan_tf.networks.parts import scaled
from igan_tf.networks.registry import NETWORKS


def build_generator(image_shape=(28, 28, 1), latent_size=100, norm="batch", reference_size=100, width=1.0):
    """z of 100 -> 500 -> 500 -> image. See `igan_tf.networks.dense.build_generator`.

    As published, every kernel starts Glorot uniform.
    """
    return dense.build_generator(
        image_shape,
        scaled((500, 500), width),
        latent_size,
        NETWORKS["mnist"].latent_range,
        norm,
        reference_size,
        pixels_initializer="glorot_uniform",
    )


def build_discriminator(
    image_shape=(28, 28, 1), num_outputs=10, minibatch_discrimination=False, width=1.0, corruption="auto"
):
    """Image -> 1000 -> 500 -> 250 -> 250 -> 250 -> logits. See `igan_tf.networks.dense.build_discriminator`."""
    return dense.build_discriminator(
        image_shape,
        hidden_units=scaled((1000, 500, 250, 250, 250), width),
        num_outputs=num_outputs,
        input_noise=0.3,
        hidden_noise=0.5,
        minibatch_discrimination=minibatch_discrimination,
        corruption=corruption,
    )
