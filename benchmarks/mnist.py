"""One MNIST training step against the matrix products that it cannot do without."""

import functools

import keras
import tensorflow as tf

from benchmarks.products import Product
from benchmarks.steps import BATCH, Experiment, build_model, training_batch
from benchmarks.timing import ratio
from igan_tf.layers import TableGaussianNoise
from igan_tf.networks import mnist

GENERATOR = [(100, 500), (500, 500), (500, 784)]
DISCRIMINATOR = [(784, 1000), (1000, 500), (500, 250), (250, 250), (250, 250), (250, 10)]


def products():
    """The products of D's and G's updates."""
    every = ("y", "dx", "dw")
    listed = [Product("D step: G forward", BATCH, (inputs,), units, ("y",)) for inputs, units in GENERATOR]
    for index, (inputs, units) in enumerate(DISCRIMINATOR):
        kinds = every if index else ("y", "dw")
        listed.append(Product("D step: D on labelled, unlabelled, generated", 3 * BATCH, (inputs,), units, kinds))
    for index, (inputs, units) in enumerate(GENERATOR):
        listed.append(Product("G step: G", BATCH, (inputs,), units, every if index else ("y", "dw")))
    for inputs, units in DISCRIMINATOR[:-1]:
        listed.append(Product("G step: D's features of real and generated", 2 * BATCH, (inputs,), units, ("y",)))
        listed.append(Product("G step: D's features of generated, backward", BATCH, (inputs,), units, ("dx",)))
    return listed


EXPERIMENT = Experiment(
    "mnist",
    functools.partial(build_model, mnist, 0.003),
    functools.partial(training_batch, (28, 28, 1)),
    products,
    repetitions=60,
)


def noise_time_ratio():
    """Seconds of this package's `TableGaussianNoise` over Keras's, on the shape of all of D's noise in its update."""
    inputs = tf.random.normal((3 * BATCH, 784 + sum(units for _, units in DISCRIMINATOR[:-1])))

    def timed(layer):
        function = tf.function(lambda: layer(inputs, training=True)[0, 0])
        return lambda: function().numpy()

    layers = (TableGaussianNoise(0.5), keras.layers.GaussianNoise(0.5))
    return ratio(*((type(layer).__name__, timed(layer)) for layer in layers), 60, shape=tuple(inputs.shape))
