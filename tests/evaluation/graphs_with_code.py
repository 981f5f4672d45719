"""Graphs of the form of an Inception network, which do something beside computing, two function calls deep."""

import numpy as np
import tensorflow as tf

from tests.evaluation.inception_graphs import write


class Nothing(tf.Module):
    """Computes."""

    def __init__(self, place):
        super().__init__()
        self.place = str(place)

    def __call__(self, values):
        return values


class Writes(Nothing):
    """Writes a file."""

    def __call__(self, values):
        tf.io.write_file(self.place, "written")
        return values


class RunsPython(Nothing):
    """Has Python write the file, in the process that made it."""

    def __call__(self, values):
        def run(array):
            with open(self.place, "w") as file:
                file.write("written")
            return array

        return tf.ensure_shape(tf.numpy_function(run, [values], tf.float32), values.shape)


class Reads(Nothing):
    """Reads a file of the machine that runs it."""

    def __call__(self, values):
        return values + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)


class LooksUp(Nothing):
    """Has a table that is filled from a file."""

    def __init__(self, place):
        super().__init__(place)
        initializer = tf.lookup.TextFileInitializer(
            "/etc/hostname",
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        )
        self.table = tf.lookup.StaticHashTable(initializer, -1)

    def __call__(self, values):
        return values + tf.cast(self.table.lookup(tf.constant("a line")), tf.float32)


def _outputs(effect):
    """Images -> logits and features, and the effect."""

    @tf.function(autograph=False)
    def deepest(values):
        return effect(values) + 1

    @tf.function(autograph=False)
    def middle(values):
        return deepest(values) * 2

    def outputs(images):
        features = middle(tf.reduce_mean(images, (1, 2)))
        return {"logits": tf.matmul(features, tf.constant(np.ones((3, 1008), "float32"))), "pool_3": features}

    return outputs


def frozen(kind, place, folder):
    """As a frozen graph with a library of functions."""
    with tf.Graph().as_default() as built:
        images = tf.compat.v1.placeholder(tf.float32, (None, 299, 299, 3), name="Mul")
        outputs = _outputs(kind(place))(images)
        tf.identity(outputs["logits"], "logits")
        tf.identity(outputs["pool_3"], "pool_3")
    return write(folder, built.as_graph_def())


def saved(kind, place, folder):
    """As a SavedModel."""
    module = tf.Module()
    module.effect = kind(place)
    signature = [tf.TensorSpec((None, 299, 299, 3), tf.float32)]
    module.__call__ = tf.function(_outputs(module.effect), input_signature=signature, autograph=False)
    tf.saved_model.save(module, str(folder / "saved"), signatures=module.__call__)
    return folder / "saved"
