import subprocess
import sys

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("TF-GAN needs the TensorFlow backend", allow_module_level=True)

import tensorflow as tf

from igan_tf.evaluation import tfgan
from igan_tf.layers.virtual_batch_norm import VirtualBatchNorm
from tests.layers.conformance import ROOT
from tests.layers.gradients import layer_gradients

PROGRAM = """
import sys
import tensorflow as tf
from igan_tf.evaluation import tfgan
import tensorflow_gan

assert tfgan.load_tfgan() is tensorflow_gan
assert tfgan.eval is tensorflow_gan.eval and tfgan.losses is tensorflow_gan.losses
assert tfgan.VBN is tensorflow_gan.features.VBN
assert not hasattr(tf, "estimator"), "tf.estimator is left behind"
assert "tensorflow_gan.python.estimator" not in sys.modules, "the empty module is left behind"
assert not hasattr(tensorflow_gan, "estimator")
"""


def test_imports_in_a_fresh_process_and_leaves_nothing_behind():
    process = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-3000:]


def test_scores_and_losses_work():
    logits = tf.constant(np.random.default_rng(0).normal(size=(8, 5)), tf.float32)
    log_p = tf.nn.log_softmax(logits)
    p = tf.exp(log_p)
    expected = tf.exp(tf.reduce_mean(tf.reduce_sum(p * (log_p - tf.math.log(tf.reduce_mean(p, 0))), 1)))
    np.testing.assert_allclose(tfgan.eval.classifier_score_from_logits(logits), expected, rtol=1e-5)
    assert float(tfgan.eval.frechet_classifier_distance_from_activations(logits, logits)) < 1e-3
    assert tfgan.losses.wargs.modified_generator_loss(logits).shape == ()


def tfgan_normalized(inputs, reference_size):
    # Its gamma and beta stay 1 and 0. Without them, center=False, it fails on rank 4.
    layer = tfgan.VBN(inputs[:reference_size], epsilon=1e-5)
    return tf.concat([layer.reference_batch_normalization(), layer(inputs[reference_size:])], axis=0)


def tfgan_eager(inputs, cotangent):
    inputs = tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = tfgan_normalized(inputs, 3)
        objective = tf.reduce_sum(outputs * cotangent)
    return outputs, tape.gradient(objective, inputs)


def tfgan_graph(inputs, cotangent):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        inputs = tf.constant(inputs)
        outputs = tfgan_normalized(inputs, 3)
        gradient = tf.gradients(tf.reduce_sum(outputs * cotangent), inputs)[0]
        session.run(tf.compat.v1.global_variables_initializer())
        return session.run([outputs, gradient])


@pytest.mark.parametrize("shape", [(7, 4), (7, 5, 6, 4)], ids=["rank2", "rank4"])
@pytest.mark.parametrize("theirs", [tfgan_eager, tfgan_graph])
def test_virtual_batch_norm_equals_tfgans(shape, theirs):
    random = np.random.default_rng(0)
    inputs, cotangent = (random.normal(0.3, 1.5, shape).astype("float32") for _ in range(2))
    layer = VirtualBatchNorm(3, gamma_initializer="ones", external_reference=True)
    outputs, gradient = theirs(inputs, cotangent)
    np.testing.assert_allclose(layer(inputs), outputs, rtol=1e-4, atol=2e-5)
    # In rank 2, three values make a variance: gradients are as large as 1 / std.
    expected = np.asarray(gradient)
    atol = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(layer_gradients(layer, inputs, cotangent)[0], expected, rtol=1e-4, atol=atol)
