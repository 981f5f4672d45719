"""Small networks for scikit-learn's 8x8 digits: MNIST's, thinner."""

from igan_tf.networks import dense

LATENT_RANGE = (0.0, 1.0)


def build_generator(image_shape=(8, 8, 1), latent_size=50):
    """z of 50 -> 128 -> 128 -> image. See `igan_tf.networks.dense.build_generator`."""
    return dense.build_generator(image_shape, hidden_units=(128, 128), latent_size=latent_size)


def build_discriminator(image_shape=(8, 8, 1), num_outputs=10):
    """Image -> 250 -> 125 -> 125 -> logits. See `igan_tf.networks.dense.build_discriminator`."""
    return dense.build_discriminator(
        image_shape, hidden_units=(250, 125, 125), num_outputs=num_outputs, input_noise=0.15, hidden_noise=0.3
    )
