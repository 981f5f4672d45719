"""One MNIST training step against the matrix products that it cannot do without."""

import tensorflow as tf

from benchmarks import steps
from benchmarks.products import Product
from benchmarks.steps import BATCH
from benchmarks.timing import alternate

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


def mnist_step_ratio():
    """Seconds of MNIST's `train_step`, batch 100, over those of its products one after another."""
    return steps.ratio_to_products(products(), training_step(), repetitions=60, warm_up=3)


def mnist_bfloat16_ratio():
    """Seconds of MNIST's step in mixed_bfloat16 over those in float32."""
    return steps.ratio_of_precisions(training_step, repetitions=60)


def mnist_pytorch_ratio():
    """Seconds of PyTorch's MNIST step over those of ours, float32."""
    return steps.ratio_to_pytorch("mnist", "float32", training_step, repetitions=60)


def build_model(precision="float32"):
    from igan_tf.networks import mnist

    return steps.build_model(mnist, 0.003, precision)


def training_batch():
    return steps.training_batch((28, 28, 1))


def training_step(precision="float32"):
    """`train_step` on one fixed batch, as a function that finishes its work."""
    return steps.finishing(tf.function(build_model(precision).train_step), training_batch())


def noise_time_ratio():
    """Seconds of this package's `TableGaussianNoise` over Keras's, on the shape of all of D's noise in its update."""
    import keras

    from igan_tf.layers import TableGaussianNoise

    inputs = tf.random.normal((3 * BATCH, 784 + sum(units for _, units in DISCRIMINATOR[:-1])))

    def timed(layer):
        function = tf.function(lambda: layer(inputs, training=True)[0, 0])
        return lambda: function().numpy()

    ours, keras_own = alternate(timed(TableGaussianNoise(0.5)), timed(keras.layers.GaussianNoise(0.5)), repetitions=60)
    details = {"TableGaussianNoise": f"{1e3 * ours:.2f} ms", "keras.layers.GaussianNoise": f"{1e3 * keras_own:.2f} ms"}
    return {"value": ours / keras_own, "details": {**details, "shape": tuple(inputs.shape)}}
