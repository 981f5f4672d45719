"""Two replicas on the two logical CPUs of `tests/conftest.py`."""

import functools


@functools.cache
def two_replicas():
    """The test run's one `MirroredStrategy`.

    One for all: every strategy numbers its all-reduces from 100 on, and TensorFlow keeps each number's shape for the
    life of the process, so that a second strategy's fails with "Shape mismatch in the collective instance 100".
    """
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
