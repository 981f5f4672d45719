"""Joint batches [real; generated], and layers that normalize them, for the tests of both such layers."""

import numpy as np
from keras import ops


def joint(*shape, seed=3, dtype="float64"):
    """A joint batch whose halves, and whose channels, differ in mean and deviation."""
    rows, channels = shape[0] // 2, shape[-1]
    batch = np.random.default_rng(seed).normal(size=shape) * np.linspace(0.5, 2, channels)
    batch[:rows] += np.linspace(-1, 2, channels)
    batch[rows:] = 3 * batch[rows:] - np.linspace(-2, 3, channels)
    return batch.astype(dtype)


def with_random_weights(layer, channels, rank=2):
    """The layer, built, its weights far from their initial values."""
    layer.build((None,) * (rank - 1) + (channels,))
    for index, weight in enumerate(layer.weights):
        value = np.random.default_rng(10 + index).normal(size=channels)
        weight.assign((abs(value) + 0.1 if "variance" in weight.name else value).astype(weight.dtype))
    return layer


def weights_of(layer):
    return {weight.name: ops.convert_to_numpy(weight.value) for weight in layer.weights}


def scale_and_shift(layer):
    weights, channels = weights_of(layer), layer.moving_mean.shape[0]
    return {"gamma": weights.get("gamma", np.ones(channels)), "beta": weights.get("beta", np.zeros(channels))}


def call(layer, inputs, training=False):
    return ops.convert_to_numpy(layer(ops.convert_to_tensor(inputs), training=training))
