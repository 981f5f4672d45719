"""Small networks for scikit-learn's 8x8 digits: MNIST's, thinner."""

from igan_tf.networks import dense
from igan_tf.networks.parts import scaled
from igan_tf.networks.registry import NETWORKS


def build_generator(image_shape=(8, 8, 1), latent_size=50, norm="batch", reference_size=100, width=1.0):
    """z of 50 -> 128 -> 128 -> image. See `igan_tf.networks.dense.build_generator`."""
    return dense.build_generator(
        image_shape, scaled((128, 128), width), latent_size, NETWORKS["digits"].latent_range, norm, reference_size
    )


def build_discriminator(
    image_shape=(8, 8, 1), num_outputs=10, minibatch_discrimination=False, width=1.0, corruption="auto"
):
    """Image -> 250 -> 125 -> 125 -> logits. See `igan_tf.networks.dense.build_discriminator`."""
    return dense.build_discriminator(
        image_shape,
        hidden_units=scaled((250, 125, 125), width),
        num_outputs=num_outputs,
        input_noise=0.15,
        hidden_noise=0.3,
        minibatch_discrimination=minibatch_discrimination,
        corruption=corruption,
    )
