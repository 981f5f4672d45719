"""What `benchmarks.gpu_check` trains."""

import functools

import keras
import numpy as np
import tensorflow as tf

from igan_tf.models import ImageNetGAN
from igan_tf.networks import imagenet
from igan_tf.optimizers import FusedAdam
from igan_tf.precision import dtype_policy

CLASSES = 1000


def build_model(machine, precision="float32", optimizer=None, strategy=None):
    """A compiled model of the machine's sizes, its weights the same at every call."""
    sizes = machine.sizes
    with dtype_policy(precision), (strategy or tf.distribute.get_strategy()).scope():
        keras.utils.set_random_seed(0)
        shape = (sizes.side, sizes.side, 3)
        generator = imagenet.build_generator(shape, sizes.latent_size, reference_size=16, gf_dim=sizes.gf_dim)
        model = ImageNetGAN(generator, imagenet.build_discriminator(shape, CLASSES + 1, df_dim=sizes.df_dim))
        optimizer = optimizer or functools.partial(FusedAdam, 0.0004, beta_1=0.5, epsilon=1e-8)
        model.compile(optimizer(), optimizer(), label_smoothing=0.25)
    model.discriminator.get_layer("corruption").exact = bool(machine.gpus)
    return model


def batch_of(machine, count):
    """A batch as the reader gives it."""
    images = np.random.default_rng(0).integers(0, 256, (count, machine.sizes.side, machine.sizes.side, 3), "uint8")
    return {"images": tf.constant(images), "labels": tf.range(count, dtype=tf.int64) % CLASSES}
