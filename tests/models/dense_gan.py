"""An `ImageNetGAN` of dense networks, for tests to which convolutions would only add the time to trace them."""

import keras
import tensorflow as tf

from igan_tf.layers import CrossBatchNorm
from igan_tf.models import ImageNetGAN

CLASSES = 3


def dense_gan(**settings):
    """A compiled model with a normalization that keeps statistics, its weights the same at every call.

    All latents are one: XLA draws other numbers.
    """
    keras.utils.set_random_seed(0)
    latents, images = keras.Input((3,)), keras.Input((2, 2, 3))
    features = CrossBatchNorm()(keras.layers.Dense(6)(keras.layers.Flatten()(images)))
    generator = keras.Model(latents, keras.layers.Reshape((2, 2, 3))(keras.layers.Dense(12)(latents)))
    outputs = {"logits": keras.layers.Dense(CLASSES + 1)(features), "features": features}
    model = ImageNetGAN(generator, keras.Model(images, outputs), latent_range=(0.25, 0.25))
    # Not Adam, which would make steps of the gradients' rounding.
    model.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1), **settings)
    return model


def batch_of(count=2):
    images = tf.random.stateless_uniform((count, 2, 2, 3), (0, 1))
    return {"images": images, "labels": tf.range(count, dtype=tf.int64) % CLASSES}
