"""One full-width CIFAR-10 training step against the convolutions and products that it cannot do without."""

import functools

from benchmarks.products import Product
from benchmarks.steps import BATCH, Experiment, build_model, training_batch
from igan_tf.networks import cifar10


def generator(what, rows, kinds, first_kinds):
    """The generator's products; the first layer's kinds are its own."""
    deconv = {"size": 5, "stride": 2, "transposed": True}
    return [
        Product(what, rows, (100,), 8192, first_kinds),
        Product(what, rows, (4, 4, 512), 256, kinds, **deconv),
        Product(what, rows, (8, 8, 256), 128, kinds, **deconv),
        Product(what, rows, (16, 16, 128), 3, kinds, **deconv),
    ]


def discriminator(what, rows, kinds, first_kinds):
    """The discriminator's products up to its features; the first layer's kinds are its own."""
    layers = [
        ((32, 32, 3), 96, 3, 1, "SAME"),
        ((32, 32, 96), 96, 3, 1, "SAME"),
        ((32, 32, 96), 96, 3, 2, "SAME"),
        ((16, 16, 96), 192, 3, 1, "SAME"),
        ((16, 16, 192), 192, 3, 1, "SAME"),
        ((16, 16, 192), 192, 3, 2, "SAME"),
        ((8, 8, 192), 192, 3, 1, "VALID"),
        ((6, 6, 192), 192, 1, 1, "VALID"),
        ((6, 6, 192), 192, 1, 1, "VALID"),
    ]
    return [
        Product(what, rows, inputs, filters, kinds if index else first_kinds, size, stride, padding)
        for index, (inputs, filters, size, stride, padding) in enumerate(layers)
    ]


def products():
    """Those of D's and G's updates with feature matching."""
    every, forward, backward = ("y", "dx", "dw"), ("y",), ("dx",)
    return [
        *generator("D step: G forward", BATCH, forward, forward),
        *discriminator("D step: D on labelled, unlabelled, generated", 3 * BATCH, every, ("y", "dw")),
        Product("D step: logits", 3 * BATCH, (192,), 10, every),
        *generator("G step: G", BATCH, every, ("y", "dw")),
        *discriminator("G step: D's features of real and generated", 2 * BATCH, forward, forward),
        *discriminator("G step: D's features of generated, backward", BATCH, backward, backward),
    ]


EXPERIMENT = Experiment(
    "cifar10",
    functools.partial(build_model, cifar10, 0.0003, feature_matching_norm="l1"),
    functools.partial(training_batch, (32, 32, 3)),
    products,
)
