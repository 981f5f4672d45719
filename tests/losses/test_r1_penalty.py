"""`R1Penalty` against its formula, and its gradients, which are second derivatives, against central differences.

Tolerances: float64, central differences with a step of 1e-5 along a direction of length 1, 1e-7 of the gradient's
length.
"""

import keras
import numpy as np
import pytest
from keras import layers

from igan_tf.layers import (
    BatchStatisticsNorm,
    BlockedConv2DTranspose,
    CrossBatchNorm,
    DropReference,
    MinibatchDiscrimination,
    PrependReference,
    SeparateBatchNorm,
    VirtualBatchNorm,
    WeightNorm,
)
from igan_tf.losses import PlayerStep, R1Penalty, gan_logit

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="needs TensorFlow's tape")
tf = pytest.importorskip("tensorflow")
SHAPE = (4, 4, 2)


@pytest.fixture
def float64():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(before)


def images_of(count, dtype="float64"):
    return tf.constant(np.random.default_rng(0).normal(size=(count, *SHAPE)), dtype)


def term(discriminate, images):
    step = PlayerStep([], images, None, None, discriminate, gan_logit)
    terms = R1Penalty(10.0).discriminator_terms(step)
    assert R1Penalty(10.0).generator_terms(step) == {} and list(terms) == ["r1_loss"]
    return terms["r1_loss"]


@pytest.mark.parametrize("classes", [1, 3])
def test_formula(classes):
    """Logits x W: the gradient of log Z is W times the class probabilities."""
    weights = np.random.default_rng(1).normal(size=(32, classes))
    images = images_of(5)
    found = term(lambda x: {"logits": tf.reshape(x, (-1, 32)) @ weights}, images)
    logits = images.numpy().reshape(5, 32) @ weights
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    gradients = probabilities @ weights.T
    np.testing.assert_allclose(found, (gradients**2).sum(1).mean() / 2, rtol=1e-12)


def test_half_precision_is_summed_in_float32():
    weights = tf.fill((32, 1), tf.constant(100, "float16"))
    found = term(lambda x: {"logits": tf.reshape(x, (-1, 32)) @ weights}, images_of(5, "float16"))
    # 32 squares of 100: more than float16 holds.
    np.testing.assert_allclose(found, 160_000, rtol=1e-3)
    assert found.dtype == "float32"


# What stands before the logits: everything with a gradient of its own, and every normalization.
HIDDEN = {
    "plain": lambda x: layers.Dense(5, "tanh")(layers.Flatten()(x)),
    "weight norm": lambda x: WeightNorm(layers.Conv2D(3, 2, activation="softplus"))(x),
    "minibatch discrimination": lambda x: MinibatchDiscrimination(4, 3)(
        WeightNorm(layers.Dense(5, "tanh"))(layers.Flatten()(x))
    ),
    "minibatch discrimination, two groups": lambda x: MinibatchDiscrimination(
        4, 3, num_groups=2, weight_norm=False, use_bias=False, reduction="mean_all_pairs"
    )(layers.Dense(5, "tanh")(layers.Flatten()(x))),
    "cross batch norm": lambda x: layers.Activation("tanh")(CrossBatchNorm()(layers.Conv2D(4, 2)(x))),
    "separate batch norm": lambda x: layers.Activation("tanh")(SeparateBatchNorm()(layers.Conv2D(4, 2)(x))),
    "batch statistics": lambda x: layers.Activation("tanh")(BatchStatisticsNorm(scale=True)(layers.Conv2D(4, 2)(x))),
    "virtual batch norm": lambda x: layers.Activation("tanh")(
        DropReference(3)(VirtualBatchNorm(3)(layers.Conv2D(4, 2)(PrependReference(3)(x))))
    ),
    "blocked convolution": lambda x: BlockedConv2DTranspose(3, 3, activation="tanh")(x),
}


@pytest.mark.parametrize("hidden", HIDDEN)
def test_gradients_equal_central_differences(float64, hidden):
    keras.utils.set_random_seed(0)
    inputs = keras.Input(SHAPE, dtype="float64")
    outputs = HIDDEN[hidden](inputs)
    if len(outputs.shape) > 2:
        outputs = layers.Flatten()(outputs)
    model = keras.Model(inputs, layers.Dense(3)(outputs))
    variables = model.trainable_variables
    draw = np.random.default_rng(2)
    for variable in variables:
        variable.assign(variable + 0.1 * draw.normal(size=variable.shape))
    # The real half of a joint batch.
    joint = images_of(6)
    images, generated = joint[:3], joint[3:]

    @tf.function
    def value_and_gradients():
        def discriminate(x):
            return {"logits": model(tf.concat([x, generated], 0), training=True)[:3]}

        with tf.GradientTape() as tape:
            value = term(discriminate, images)
        return value, tape.gradient(value, variables, unconnected_gradients="zero")

    start, gradients = value_and_gradients()
    assert float(start) > 1e-3
    length = np.sqrt(sum(np.sum(gradient.numpy() ** 2) for gradient in gradients))
    for _ in range(3):
        direction = [draw.normal(size=variable.shape) for variable in variables]
        norm = np.sqrt(sum(np.sum(part**2) for part in direction))
        values = []
        for sign in (1, -1):
            for variable, part in zip(variables, direction):
                variable.assign_add(sign * 1e-5 * part / norm)
            values.append(float(value_and_gradients()[0]))
            for variable, part in zip(variables, direction):
                variable.assign_sub(sign * 1e-5 * part / norm)
        expected = sum(np.sum(gradient.numpy() * part) for gradient, part in zip(gradients, direction)) / norm
        assert abs((values[0] - values[1]) / 2e-5 - expected) < 1e-7 * length


def test_refused_weight():
    with pytest.raises(ValueError, match=r"`weight` of R1Penalty must not be .* Received: weight=-1"):
        R1Penalty(-1)
