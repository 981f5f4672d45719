"""`InsideRootAdam` against its textbook form in float64.

Tolerances: float64 variables 1e-9 relative over 50 steps (`1 - beta_2^t` is 0.001 at first and costs three digits);
float32 ones 1e-4 of the distance moved, for the same reason. Keras computes the learning rate in float32: the rates
here are powers of 2, so that no tolerance has to cover that.
"""

import keras
import numpy as np
import pytest
from keras import ops

from igan_tf.optimizers import InsideRootAdam
from tests.layers.gradients import float64_enabled
from tests.optimizers.two_replicas import train_on_two_replicas

tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow")
RATE = 2.0**-8
STEPS = 50


def oracle(values, gradients, learning_rate=lambda step: RATE, beta_1=0.5, beta_2=0.999, epsilon=1e-8):
    """theta <- theta - lr m_hat / sqrt(v_hat + epsilon), one step for each of `gradients`."""
    values = values.astype("float64")
    first = second = np.zeros_like(values)
    for step, gradient in enumerate(gradients, start=1):
        first = beta_1 * first + (1 - beta_1) * gradient
        second = beta_2 * second + (1 - beta_2) * gradient**2
        first_hat, second_hat = first / (1 - beta_1**step), second / (1 - beta_2**step)
        values = values - learning_rate(step - 1) * first_hat / np.sqrt(second_hat + epsilon)
    return values


@pytest.fixture(params=["this backend's path", "generic path"])
def path(request, monkeypatch):
    """TensorFlow has a fused path of its own; the other backends' generic one runs on it as well."""
    if request.param == "generic path":
        if keras.backend.backend() != "tensorflow":
            pytest.skip("the generic path is this backend's path")
        monkeypatch.setattr(keras.backend, "backend", lambda: "another")


def run(optimizer, start, gradients, dtype):
    variable = keras.Variable(start, dtype=dtype)
    for gradient in gradients:
        optimizer.apply([ops.convert_to_tensor(gradient, dtype=dtype)], [variable])
    return ops.convert_to_numpy(variable.value)


def problem(size, shape=(3, 4), seed=0):
    generator = np.random.default_rng(seed)
    return generator.normal(size=shape), list(size * generator.normal(size=(STEPS, *shape)))


# 1e-4 is the root of epsilon: gradients below it move the variable less the smaller they are.
@pytest.mark.parametrize("size", [1.0, 1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("shape", [(), (3, 4)], ids=["scalar", "matrix"])
def test_float64_equals_the_oracle(path, size, shape):
    with float64_enabled():
        start, gradients = problem(size, shape)
        start = np.asarray(start)
        found = run(InsideRootAdam(RATE), start, gradients, "float64")
        expected = oracle(start, gradients)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found - start, expected - start, rtol=1e-9, atol=1e-9 * abs(expected - start).max())


@pytest.mark.parametrize("size", [1.0, 1e-4, 1e-6])
def test_float32_equals_the_oracle(path, size):
    _, gradients = problem(size)
    # From 0, so that what is compared is the way alone.
    start = np.zeros((3, 4))
    found = run(InsideRootAdam(RATE), start, gradients, "float32")
    expected = oracle(start, gradients)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * abs(expected).max())


@pytest.mark.parametrize("size", [1.0, 1e-6])
def test_first_step(path, size):
    """lr * g / sqrt(g^2 + 1e-8), whatever the betas are: Adam's bias corrections cancel."""
    for betas in ({}, {"beta_1": 0.9, "beta_2": 0.99}, {"beta_1": 0.0}):
        found = run(InsideRootAdam(RATE, **betas), np.zeros(3), [np.array([size, -2 * size, 0])], "float32")
        expected = -RATE * np.array([1, -2, 0]) * size / np.sqrt((np.array([1, -2, 0]) * size) ** 2 + 1e-8)
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_settings_reach_the_formula(path):
    with float64_enabled():
        start, gradients = problem(0.1)
        settings = {"beta_1": 0.75, "beta_2": 0.875, "epsilon": 2.0**-6}
        found = run(InsideRootAdam(RATE, **settings), start, gradients, "float64")
        expected = oracle(start, gradients, **settings)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_schedule(path):
    with float64_enabled():
        start, gradients = problem(1.0)
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay([9, 29], [2.0**-4, 2.0**-6, 2.0**-8])
        found = run(InsideRootAdam(schedule), start, gradients, "float64")
        expected = oracle(start, gradients, lambda step: 2.0**-4 if step <= 9 else 2.0**-6 if step <= 29 else 2.0**-8)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_several_variables_keep_their_own_moments(path):
    starts, gradients = zip(*(problem(1.0, shape, seed) for seed, shape in enumerate([(), (2,), (3, 2)])))
    variables = [keras.Variable(np.asarray(start), dtype="float32") for start in starts]
    optimizer = InsideRootAdam(RATE)
    for step in range(STEPS):
        optimizer.apply([ops.convert_to_tensor(each[step], dtype="float32") for each in gradients], variables)
    for variable, start, each in zip(variables, starts, gradients):
        found = ops.convert_to_numpy(variable.value)
        np.testing.assert_allclose(found, oracle(np.asarray(start), each), rtol=1e-4, atol=1e-4)


def test_the_constant_acts_where_the_gradient_is_small():
    """A gradient of 1e-6 moves a variable by about lr / 100 a step, where Keras's Adam moves it by lr or so."""
    gradients = [np.full(1, 1e-6)] * 10
    found = run(InsideRootAdam(RATE), np.zeros(1), gradients, "float32")
    np.testing.assert_allclose(found, -10 * RATE * 1e-6 / np.sqrt(1e-12 + 1e-8), rtol=1e-4)
    keras_adam = run(keras.optimizers.Adam(RATE, beta_1=0.5), np.zeros(1), gradients, "float32")
    assert keras_adam[0] < 5 * found[0]


def test_config_round_trip():
    optimizer = InsideRootAdam(0.01, beta_1=0.25, beta_2=0.75, epsilon=1e-4, clipnorm=1.0)
    config = keras.saving.serialize_keras_object(optimizer)
    assert config["registered_name"] == "igan_tf>InsideRootAdam"
    copy = keras.saving.deserialize_keras_object(config)
    assert type(copy) is InsideRootAdam
    assert copy.get_config() == optimizer.get_config()
    assert (copy.beta_1, copy.beta_2, copy.epsilon, copy.clipnorm) == (0.25, 0.75, 1e-4, 1.0)
    assert InsideRootAdam().get_config()["beta_1"] == 0.5 and InsideRootAdam().get_config()["epsilon"] == 1e-8


def test_saved_in_the_middle_it_continues_the_same(tmp_path):
    def model():
        network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, kernel_initializer="ones")])
        network.compile(InsideRootAdam(RATE), "mse")
        return network

    inputs, targets = np.random.default_rng(0).normal(size=(2, 8, 3)).astype("float32")
    targets = targets[:, :2]
    uninterrupted, first = model(), model()
    for _ in range(6):
        uninterrupted.train_on_batch(inputs, targets)
    for _ in range(3):
        first.train_on_batch(inputs, targets)
    first.save(tmp_path / "model.keras")
    second = keras.saving.load_model(tmp_path / "model.keras")
    assert int(second.optimizer.iterations) == 3
    for _ in range(3):
        second.train_on_batch(inputs, targets)
    for found, expected in zip(second.optimizer.variables, uninterrupted.optimizer.variables):
        np.testing.assert_array_equal(ops.convert_to_numpy(found.value), ops.convert_to_numpy(expected.value))
    for found, expected in zip(second.get_weights(), uninterrupted.get_weights()):
        np.testing.assert_array_equal(found, expected)


@tensorflow_only
def test_graph_equals_eager():
    import tensorflow as tf

    start, gradients = problem(1e-3)
    variable, optimizer = keras.Variable(start, dtype="float32"), InsideRootAdam(RATE)
    optimizer.build([variable])
    step = tf.function(lambda gradient: optimizer.apply([gradient], [variable]))
    for gradient in gradients:
        step(tf.constant(gradient, tf.float32))
    expected = run(InsideRootAdam(RATE), start, gradients, "float32")
    np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-6, atol=1e-6)


@tensorflow_only
def test_two_replicas_apply_the_sum_of_their_gradients():
    """Keras sums over replicas; the updates on both replicas are the single device's on that sum."""
    start, gradients = problem(1e-3)
    strategy, variable, optimizer = train_on_two_replicas(lambda: InsideRootAdam(RATE), start, gradients)
    expected = run(InsideRootAdam(RATE), start, gradients, "float32")
    copies = strategy.experimental_local_results(variable.value)
    assert len(copies) == 2
    for copy in copies:
        np.testing.assert_allclose(copy.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert int(optimizer.iterations.value.numpy()) == STEPS


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta_1": 1.0}, r"`beta_1` must be in \[0, 1\). Received: beta_1=1.0"),
        ({"beta_1": -0.1}, r"`beta_1` must be in \[0, 1\). Received: beta_1=-0.1"),
        ({"beta_2": 1.5}, r"`beta_2` must be in \[0, 1\). Received: beta_2=1.5"),
        ({"beta_2": 0}, "`beta_2` and `epsilon` must be positive. Received: beta_2=0, epsilon=1e-08"),
        ({"epsilon": 0.0}, "`beta_2` and `epsilon` must be positive. Received: beta_2=0.999, epsilon=0.0"),
        ({"epsilon": float("nan")}, "`beta_2` and `epsilon` must be positive. .*epsilon=nan"),
    ],
)
def test_refused_arguments(settings, message):
    with pytest.raises(ValueError, match=message):
        InsideRootAdam(**settings)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_variables_in_half_precision_are_refused(dtype):
    variable = keras.Variable(np.ones(3), dtype=dtype, name="kernel")
    with pytest.raises(ValueError, match=f"`variables` must be float32 or float64, .*: kernel of {dtype}"):
        InsideRootAdam().build([variable])
