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


@pytest.mark.parametrize("shape", [(7, 4), (7, 5, 6, 4)], ids=["rank2", "rank4"])
@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
def test_virtual_batch_norm_equals_tfgans(shape, graph):
    inputs = np.random.default_rng(0).normal(0.3, 1.5, shape).astype("float32")
    layer = VirtualBatchNorm(3, scale=False)

    def both(inputs):
        # TF-GAN's variables would be made anew in each call; without them gamma is 1 and beta 0.
        theirs = tfgan.VBN(inputs[:3], epsilon=1e-5, center=False, scale=False)
        expected = tf.concat([theirs.reference_batch_normalization(), theirs(inputs[3:])], axis=0)
        return layer(inputs), expected

    def outputs_and_gradients(inputs):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(inputs)
            outputs = both(inputs)
            values = [tf.reduce_sum(tf.sin(output)) for output in outputs]
        return outputs, [tape.gradient(value, inputs) for value in values]

    function = tf.function(outputs_and_gradients) if graph else outputs_and_gradients
    for ours, theirs in function(tf.constant(inputs)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5)
