"""MNIST's networks as published, for images of any size in [0, 1]."""

from igan_tf.networks import dense

LATENT_RANGE = (0.0, 1.0)


def build_generator(image_shape=(28, 28, 1), latent_size=100):
    """z of 100 -> 500 -> 500 -> image. See `igan_tf.networks.dense.build_generator`."""
    return dense.build_generator(image_shape, hidden_units=(500, 500), latent_size=latent_size)


def build_discriminator(image_shape=(28, 28, 1), num_outputs=10):
    """Image -> 1000 -> 500 -> 250 -> 250 -> 250 -> logits. See `igan_tf.networks.dense.build_discriminator`."""
    return dense.build_discriminator(
        image_shape,
        hidden_units=(1000, 500, 250, 250, 250),
        num_outputs=num_outputs,
        input_noise=0.3,
        hidden_noise=0.5,
    )
