"""A training step of this package's networks, to be timed."""

import tensorflow as tf

BATCH = 100


def training_step(network, image_shape, learning_rate, **compile_settings):
    """`train_step` on one fixed batch of 100 images of each kind, as a function that finishes its work.

    Args:
        network: Module of `igan_tf.networks`.
        image_shape: `(height, width, channels)`.
        learning_rate: Of both players.
        **compile_settings: Of `SemiSupervisedGAN.compile`.
    """
    from igan_tf.models import SemiSupervisedGAN
    from igan_tf.optimizers import InsideRootAdam

    model = SemiSupervisedGAN(network.build_generator(), network.build_discriminator())
    model.compile(InsideRootAdam(learning_rate), InsideRootAdam(learning_rate), **compile_settings)
    images = tf.random.uniform((3, BATCH, *image_shape))
    batch = {
        "labelled_images": images[0],
        "labels": tf.range(BATCH) % 10,
        "unlabelled_images": images[1],
        "unlabelled_images_2": images[2],
    }
    function = tf.function(model.train_step)
    return lambda: [value.numpy() for value in function(batch).values()]
