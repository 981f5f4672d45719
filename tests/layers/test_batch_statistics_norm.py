"""`BatchStatisticsNorm` against NumPy.

Tolerances: float64 against the oracle 1e-12, gradients against central differences 1e-7 (step 1e-6), float32 1e-5.
"""

import math

import keras
import numpy as np
import pytest
from keras import ops

from igan_tf.layers import BatchStatisticsNorm
from tests.layers.conformance import call, check_layer
from tests.layers.gradients import float64_enabled, layer_gradients
from tests.parity.minibatch_discrimination import finite_differences


@pytest.fixture
def float64():
    with float64_enabled():
        yield


def normal(*shape, seed=3):
    return np.random.default_rng(seed).normal(size=shape)


def oracle(inputs, epsilon, gamma=None, beta=None):
    outputs = np.zeros_like(inputs)
    for channel in range(inputs.shape[-1]):
        values = inputs[..., channel]
        mean = sum(values.ravel()) / values.size
        variance = sum((value - mean) ** 2 for value in values.ravel()) / values.size
        outputs[..., channel] = (values - mean) / math.sqrt(variance + epsilon)
        outputs[..., channel] *= 1 if gamma is None else gamma[channel]
        outputs[..., channel] += 0 if beta is None else beta[channel]
    return outputs


def random_layer(channels, rank=2, dtype="float64", **settings):
    layer = BatchStatisticsNorm(**settings, dtype=dtype)
    layer.build((None,) * (rank - 1) + (channels,))
    for index, weight in enumerate(layer.weights):
        weight.assign(normal(channels, seed=10 + index).astype(weight.dtype))
    return layer


def weights_of(layer):
    return {weight.name: ops.convert_to_numpy(weight.value) for weight in layer.weights}


@pytest.mark.parametrize("shape", [(5, 3), (4, 2, 3), (3, 2, 4, 3)])
@pytest.mark.parametrize("settings", [{}, {"scale": True}, {"center": False}, {"scale": True, "epsilon": 0.1}])
def test_outputs_equal_the_oracle(float64, shape, settings):
    layer = random_layer(3, len(shape), **settings)
    inputs = 2 + 3 * normal(*shape)
    expected = oracle(inputs, layer.epsilon, **weights_of(layer))
    for training in (False, True):
        found = ops.convert_to_numpy(layer(ops.convert_to_tensor(inputs), training=training))
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("settings", [{}, {"scale": True}])
def test_gradients_equal_finite_differences(float64, settings):
    layer = random_layer(2, 3, **settings)
    inputs, cotangent = normal(3, 2, 2), normal(3, 2, 2, seed=4)
    to_inputs, to_weights = layer_gradients(layer, inputs, cotangent)
    weights = weights_of(layer)
    names = [weight.name for weight in layer.trainable_weights]
    assert sorted(names) == sorted(weights)

    def objective_of(name):
        if name == "inputs":
            return lambda value: np.sum(oracle(value, layer.epsilon, **weights) * cotangent)
        return lambda value: np.sum(oracle(inputs, layer.epsilon, **{**weights, name: value}) * cotangent)

    for name, gradient in [("inputs", to_inputs), *zip(names, to_weights)]:
        expected = finite_differences(objective_of(name), inputs if name == "inputs" else weights[name])
        np.testing.assert_allclose(gradient, expected, rtol=1e-7, atol=1e-7, err_msg=name)


def test_initially_the_output_has_mean_0_and_deviation_1():
    outputs = call(BatchStatisticsNorm(), (5 + 2 * normal(500, 4)).astype("float32"))
    np.testing.assert_allclose(outputs.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(outputs.std(0), 1, rtol=1e-5)


def test_far_from_zero_the_deviation_is_not_lost():
    """float32 has 7 digits: a mean of squares of 1e4 would leave none of a deviation of 1."""
    outputs = call(BatchStatisticsNorm(), (1e4 + normal(500, 4)).astype("float32"))
    np.testing.assert_allclose(outputs.std(0), 1, rtol=1e-3)


def test_a_constant_channel_gives_beta():
    layer = random_layer(3, dtype="float32")
    outputs = call(layer, np.full((6, 3), 0.1, "float32"))
    np.testing.assert_allclose(outputs, np.tile(weights_of(layer)["beta"], (6, 1)), atol=1e-4)


def test_half_precision_takes_statistics_in_float32():
    inputs = (1000 + 10 * normal(400, 3)).astype("float16")
    layer = BatchStatisticsNorm(dtype="mixed_float16")
    found = ops.convert_to_numpy(ops.cast(layer(ops.convert_to_tensor(inputs)), "float32"))
    np.testing.assert_allclose(found, oracle(inputs.astype("float64"), 1e-6), rtol=2**-10, atol=2**-10)


def test_an_output_depends_on_its_batch_in_predict_too():
    """Documented: there are no moving averages."""
    model = keras.Sequential([keras.Input((3,)), BatchStatisticsNorm()])
    inputs = normal(6, 3).astype("float32")
    whole = model.predict(inputs, batch_size=6, verbose=0)
    halves = model.predict(inputs, batch_size=3, verbose=0)
    np.testing.assert_allclose(halves[:3], oracle(inputs[:3].astype("float64"), 1e-6), rtol=1e-4, atol=1e-5)
    assert np.all(whole != halves)


def test_rank_1_is_refused():
    with pytest.raises(ValueError, match=r"`inputs` must have rank 2 or more. Received: inputs.shape=\(4,\)"):
        BatchStatisticsNorm().build((4,))


@pytest.mark.parametrize(
    ("settings", "weights"),
    [
        ({}, [("beta", (3,), True)]),
        (
            {"center": True, "scale": True, "epsilon": 1e-3},
            [("gamma", (3,), True), ("beta", (3,), True)],
        ),
    ],
    ids=["defaults", "gamma"],
)
def test_conformance(settings, weights):
    shape = (4, 3) if settings else (2, 2, 3, 3)
    check_layer(lambda: BatchStatisticsNorm(**settings), shape, expected_output_shape=shape, expected_weights=weights)
