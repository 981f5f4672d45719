"""What has a form for CPUs and one for GPUs, on every backend; whoever times them compiles them."""

import functools

import keras
from keras import ops

from igan_tf.layers import TableGaussianNoise, pairwise_distances


def pairs(shape):
    """Both forms of the distances of points, forward and backward: functions to one number by name, their arguments."""

    def both(form, points, cotangent):
        distances, gradient = form(points)
        return ops.sum(distances) + ops.sum(gradient(cotangent))

    names = ("loops", "broadcasting")
    functions = {name: functools.partial(both, getattr(pairwise_distances, f"_by_{name}")) for name in names}
    points = keras.random.normal(shape, seed=0)
    return functions, (points, keras.random.normal((shape[0], shape[0], shape[1]), seed=1))


def noises():
    """Both forms of the noise: layers by name."""
    return {name: TableGaussianNoise(0.1, seed=1, exact=name == "exact") for name in ("exact", "table")}
