"""Strategies over this machine's devices."""

import functools

import tensorflow as tf


def mirrored_strategy():
    """The process's one `MirroredStrategy`: over all GPUs, or all logical CPUs where there is no GPU.

    One for all: every strategy on CPUs numbers its all-reduces from 100 on, and TensorFlow keeps each number's shape
    for the life of the process, so that a second strategy's fail with "Shape mismatch in the collective instance".
    """
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    return _mirrored_over(tuple(device.name for device in tf.config.list_logical_devices(kind)))


@functools.cache
def _mirrored_over(device_names):
    return tf.distribute.MirroredStrategy(list(device_names))
