"""`FusedAdam` against `keras.optimizers.Adam` and the textbook.

Tolerances, of the distance moved or of the slots' values: float64 against the textbook 1e-9 over 50 steps
(`1 - beta_2^t` is 0.001 at first and costs three digits). Float32 against Keras 1e-4, for TensorFlow's operation
takes `1 - beta_2` from the rounded `beta_2`: 0.00100005 for 0.999, where Keras has 0.001, so that the second moments
differ by 5e-5 and the steps by half of that. Where the betas are sums of few powers of 2, 2e-6: the order of a handful
of roundings, each 6e-8. Learning rates are powers of 2, because Keras keeps them in float32.
"""

import keras
import numpy as np
import pytest
from keras import ops

from igan_tf.optimizers import AnnealedRate, FusedAdam
from tests.layers.gradients import float64_enabled
from tests.optimizers.two_replicas import train_on_two_replicas

tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow")

RATE = 2.0**-8
STEPS = 50
# Exact in float32, as `1 - beta` is.
EXACT = {"beta_1": 0.5, "beta_2": 1 - 2.0**-9}


def textbook(values, gradients, learning_rate=lambda step: RATE, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    """theta <- theta - lr sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon), in float64."""
    values = values.astype("float64")
    first = second = np.zeros_like(values)
    for step, gradient in enumerate(gradients, start=1):
        first = beta_1 * first + (1 - beta_1) * gradient
        second = beta_2 * second + (1 - beta_2) * gradient**2
        rate = learning_rate(step - 1) * np.sqrt(1 - beta_2**step) / (1 - beta_1**step)
        values = values - rate * first / (np.sqrt(second) + epsilon)
    return values


def problem(size=1.0, shape=(3, 4), steps=STEPS, seed=0):
    """Gradients, one a step. Variables start at 0 where float32 is compared, so that it is the way that is."""
    return list(size * np.random.default_rng(seed).normal(size=(steps, *shape)))


def run(optimizer, gradients, dtype="float32", start=None):
    """The variable and the optimizer's state after all steps."""
    variable = keras.Variable(np.zeros(gradients[0].shape) if start is None else start, dtype=dtype)
    for gradient in gradients:
        optimizer.apply([ops.convert_to_tensor(gradient, dtype=dtype)], [variable])
    return [ops.convert_to_numpy(each.value) for each in (variable, *optimizer.variables)]


def assert_near(found, expected, tolerance):
    """Near in units of the largest value expected."""
    for index, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert one.dtype == other.dtype and one.shape == other.shape
        atol = tolerance * abs(other).max()
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=atol, err_msg=f"state {index}")


# 1e-7 is epsilon: gradients below it move the variable less the smaller they are.
@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-7])
@pytest.mark.parametrize("shape", [(), (3, 4)], ids=["scalar", "matrix"])
@pytest.mark.parametrize(("settings", "tolerance"), [(EXACT, 2e-6), ({"beta_1": 0.5}, 1e-4), ({}, 1e-4)])
def test_float32_equals_keras(size, shape, settings, tolerance):
    gradients = problem(size, shape)
    found = run(FusedAdam(RATE, **settings), gradients)
    expected = run(keras.optimizers.Adam(RATE, **settings), gradients)
    # Variable, iterations, learning rate, both moments.
    assert len(found) == 5
    assert_near(found, expected, tolerance)


@tensorflow_only
@pytest.mark.parametrize("size", [1.0, 1e-7])
@pytest.mark.parametrize("settings", [{}, {"beta_1": 0.0}, {"beta_1": 0.5, "beta_2": 0.8, "epsilon": 1e-3}])
def test_float64_equals_the_textbook(size, settings):
    start, gradients = np.random.default_rng(1).normal(size=(3, 4)), problem(size)
    found = run(FusedAdam(RATE, **settings), gradients, "float64", start)[0]
    expected = textbook(start, gradients, **settings)
    assert found.dtype == np.float64
    assert_near([found - start], [expected - start], 1e-9)


def test_float64_equals_keras():
    with float64_enabled():
        gradients = problem()
        found, expected = (
            run(kind(RATE, **EXACT), gradients, "float64") for kind in (FusedAdam, keras.optimizers.Adam)
        )
    assert found[0].dtype == np.float64
    # A handful of roundings of 1e-16 a step.
    assert_near(found, expected, 1e-13)


@pytest.mark.parametrize("epsilon", [1e-8, 2.0**-6])
def test_epsilon_is_outside_the_root(epsilon):
    """The first step is lr * g / (|g| + epsilon / sqrt(1 - beta_2)), whatever beta_1 is."""
    gradient = np.array([1e-8, -1e-3, 1.0, 0.0])
    found = run(FusedAdam(RATE, epsilon=epsilon), [gradient])[0]
    expected = -RATE * gradient / (abs(gradient) + epsilon / np.sqrt(1 - 0.999))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(
    "schedule",
    [
        keras.optimizers.schedules.PiecewiseConstantDecay([9, 29], [2.0**-4, 2.0**-6, 2.0**-8]),
        AnnealedRate(RATE, epochs=10, steps_per_epoch=5),
        lambda: RATE,
    ],
    ids=["piecewise", "annealed", "callable"],
)
def test_schedules(schedule):
    gradients = problem()
    found = run(FusedAdam(schedule, **EXACT), gradients)
    assert_near(found, run(keras.optimizers.Adam(schedule, **EXACT), gradients), 2e-6)
    if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        return
    rates = [float(schedule(step)) for step in range(STEPS)]
    assert len(set(rates)) > 2
    assert_near([found[0]], [textbook(np.zeros((3, 4)), gradients, rates.__getitem__, **EXACT).astype("float32")], 1e-5)


def test_the_learning_rate_can_be_set():
    gradients, optimizer = problem(steps=4), FusedAdam(RATE, **EXACT)
    variable = keras.Variable(np.zeros((3, 4)), dtype="float32")
    rates = [2.0**-8, 2.0**-8, 2.0**-3, 2.0**-3]
    for rate, gradient in zip(rates, gradients):
        optimizer.learning_rate = rate
        optimizer.apply([ops.convert_to_tensor(gradient, dtype="float32")], [variable])
    expected = textbook(np.zeros((3, 4)), gradients, rates.__getitem__, **EXACT)
    assert_near([ops.convert_to_numpy(variable.value)], [expected.astype("float32")], 1e-5)


# What Keras's base class does around the update.

OPTIONS = {
    "amsgrad": {"amsgrad": True},
    "weight_decay": {"weight_decay": 2.0**-3},
    "clipnorm": {"clipnorm": 0.5},
    "clipvalue": {"clipvalue": 0.25},
    "global_clipnorm": {"global_clipnorm": 0.5},
    "average": {"use_ema": True, "ema_momentum": 0.75},
    "average taken": {"use_ema": True, "ema_momentum": 0.75, "ema_overwrite_frequency": 3},
    "accumulation": {"gradient_accumulation_steps": 3},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_are_honoured(name):
    gradients, start = problem(steps=15), np.linspace(-1, 1, 12).reshape(3, 4)
    # Uneven sizes: clipped at times, and the largest second moment is not the last.
    gradients = [gradient * (1 + step % 7) * 0.9**step for step, gradient in enumerate(gradients)]
    betas = {"beta_1": 0.5, "beta_2": 0.75}
    found = run(FusedAdam(RATE, **betas, **OPTIONS[name]), gradients, start=start)
    expected = run(keras.optimizers.Adam(RATE, **betas, **OPTIONS[name]), gradients, start=start)
    assert_near(found, expected, 2e-6)
    plain = run(FusedAdam(RATE, **betas), gradients, start=start)
    if name == "average":
        # Kept beside the variable, which is as it would have been.
        np.testing.assert_array_equal(found[0], plain[0])
        assert len(found) == len(plain) + 1
    else:
        assert abs(found[0] - plain[0]).max() > 1e-3


def test_weight_decay_leaves_out_what_it_is_told_to():
    variables = [keras.Variable(np.ones(2), dtype="float32", name=name) for name in ("kernel", "bias")]
    optimizer = FusedAdam(RATE, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.apply([ops.zeros(2), ops.zeros(2)], variables)
    kernel, bias = (ops.convert_to_numpy(variable.value) for variable in variables)
    np.testing.assert_array_equal(kernel, 1 - 0.5 * RATE)
    np.testing.assert_array_equal(bias, 1)


def test_several_variables_keep_their_own_moments():
    gradients = [problem(1.0, shape, seed=seed) for seed, shape in enumerate([(), (2,), (3, 2)])]
    variables = [keras.Variable(np.zeros(each[0].shape), dtype="float32") for each in gradients]
    optimizer = FusedAdam(RATE, **EXACT)
    for step in range(STEPS):
        optimizer.apply([ops.convert_to_tensor(each[step], dtype="float32") for each in gradients], variables)
    for variable, each in zip(variables, gradients):
        expected = textbook(np.zeros(each[0].shape), each, **EXACT).astype("float32")
        assert_near([ops.convert_to_numpy(variable.value)], [expected], 1e-5)


def test_a_variable_without_gradient_is_left_alone():
    variables = [keras.Variable(np.ones(2), dtype="float32") for _ in range(2)]
    optimizer = FusedAdam(RATE)
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer.apply([None, ops.ones(2)], variables)
    first, second = (ops.convert_to_numpy(variable.value) for variable in variables)
    np.testing.assert_array_equal(first, 1)
    np.testing.assert_allclose(second, 1 - RATE, rtol=1e-6)


@tensorflow_only
def test_gradients_of_embeddings():
    """Of the rows that were looked up, some of them twice; the others' moments decay, too.

    Not against Keras, which adds up the squares of a row's two gradients instead of squaring their sum.
    """
    import tensorflow as tf

    variable, optimizer, dense = keras.Variable(np.zeros((5, 2)), dtype="float32"), FusedAdam(RATE, **EXACT), []
    for step in range(STEPS):
        rows, values = [step % 5, (2 * step) % 5], np.random.default_rng(step).normal(size=(2, 2))
        slices = tf.IndexedSlices(tf.constant(values, tf.float32), tf.constant(rows), tf.constant([5, 2]))
        optimizer.apply([slices], [variable])
        dense.append(np.zeros((5, 2)))
        np.add.at(dense[-1], rows, values)
    assert_near([variable.numpy()], [textbook(np.zeros((5, 2)), dense, **EXACT).astype("float32")], 1e-5)


# In graphs.


def compiled_steps(optimizer, gradients, **options):
    import tensorflow as tf

    variable = keras.Variable(np.zeros(gradients[0].shape), dtype="float32")
    optimizer.build([variable])
    step = tf.function(lambda gradient: optimizer.apply([gradient], [variable]), **options)
    for gradient in gradients:
        step(tf.constant(gradient, tf.float32))
    graph = step.get_concrete_function(tf.TensorSpec(gradients[0].shape)).graph
    return [each.numpy() for each in (variable, *optimizer.variables)], [op.type for op in graph.get_operations()]


@tensorflow_only
@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_equals_eager(jit_compile):
    gradients = problem(1e-3)
    found, _ = compiled_steps(FusedAdam(RATE), gradients, jit_compile=jit_compile)
    # XLA rounds sums of products once.
    assert_near(found, run(FusedAdam(RATE), gradients), 2e-6)


@tensorflow_only
def test_the_update_is_one_operation_but_for_amsgrad():
    gradients = problem(steps=1)
    _, operations = compiled_steps(FusedAdam(RATE), gradients)
    assert operations.count("ResourceApplyAdam") == 1
    # Nothing else changes a variable but the count of steps.
    assert len([kind for kind in operations if kind.startswith("Assign")]) == 1
    _, operations = compiled_steps(FusedAdam(RATE, amsgrad=True), gradients)
    assert "ResourceApplyAdam" not in operations


@tensorflow_only
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.5, "use_ema": True}], ids=["plain", "with options"])
def test_two_replicas_apply_the_sum_of_their_gradients(options):
    """Keras sums over replicas; the updates on both replicas are the single device's on that sum."""
    gradients = problem()
    strategy, variable, optimizer = train_on_two_replicas(
        lambda: FusedAdam(RATE, **EXACT, **options), np.zeros((3, 4)), gradients
    )
    expected = run(keras.optimizers.Adam(RATE, **EXACT, **options), gradients)
    copies = [strategy.experimental_local_results(each.value) for each in (variable, *optimizer.variables)]
    for replica in range(2):
        assert_near([np.asarray(copy[min(replica, len(copy) - 1)]) for copy in copies], expected, 2e-6)
    # Both moments are mirrored, as is the variable.
    assert [len(copy) for copy, value in zip(copies, expected) if value.shape] == [2] * (4 if options else 3)


# Loss scaling.


@tensorflow_only
def test_with_a_scaled_loss():
    """Gradients come multiplied by the scale; a step whose gradients overflow is left out, and the scale halved."""
    gradients, scale = problem(), 2.0**10
    optimizer = keras.optimizers.LossScaleOptimizer(FusedAdam(RATE, **EXACT), initial_scale=scale)
    variable = keras.Variable(np.zeros((3, 4)), dtype="float32")
    for step, gradient in enumerate(gradients):
        if step in (0, 20):
            before = ops.convert_to_numpy(variable.value)
            overflown = np.where(np.arange(12).reshape(3, 4) == 5, np.inf, gradient)
            optimizer.apply([ops.convert_to_tensor(overflown, dtype="float32")], [variable])
            np.testing.assert_array_equal(ops.convert_to_numpy(variable.value), before)
            assert int(optimizer.iterations) == step
            scale /= 2
        assert float(optimizer.scale_loss(ops.convert_to_tensor(1.0))) == scale
        optimizer.apply([ops.convert_to_tensor(scale * gradient, dtype="float32")], [variable])
    inner = optimizer.inner_optimizer
    found = [ops.convert_to_numpy(each.value) for each in (variable, *inner.variables)]
    assert_near(found, run(keras.optimizers.Adam(RATE, **EXACT), gradients), 2e-6)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert type(copy.inner_optimizer) is FusedAdam


@tensorflow_only
def test_mixed_float16_trains():
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, dtype="mixed_float16")])
    network.compile(keras.optimizers.LossScaleOptimizer(FusedAdam(0.0625, **EXACT)), "mse")
    inputs = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
    losses = [network.train_on_batch(inputs, inputs[:, :2]) for _ in range(60)]
    assert losses[-1] < 0.1 * losses[0]
    assert network.layers[-1].kernel.dtype == "float32"


# Saving.


def test_config_round_trip():
    optimizer = FusedAdam(0.01, beta_1=0.25, beta_2=0.75, epsilon=1e-4, amsgrad=True, clipnorm=1.0)
    config = keras.saving.serialize_keras_object(optimizer)
    assert config["registered_name"] == "igan_tf>FusedAdam"
    copy = keras.saving.deserialize_keras_object(config)
    assert type(copy) is FusedAdam
    assert copy.get_config() == optimizer.get_config()
    assert (copy.beta_1, copy.beta_2, copy.epsilon, copy.amsgrad, copy.clipnorm) == (0.25, 0.75, 1e-4, True, 1.0)
    # Its defaults are Keras's.
    assert {**FusedAdam().get_config(), "name": ""} == {**keras.optimizers.Adam().get_config(), "name": ""}


@pytest.mark.parametrize("schedule", [RATE, AnnealedRate(RATE, 3, 2)], ids=["constant", "annealed"])
def test_saved_in_the_middle_it_continues_the_same(tmp_path, schedule):
    def model():
        network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, kernel_initializer="ones")])
        network.compile(FusedAdam(schedule), "mse")
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
    assert type(second.optimizer) is FusedAdam and int(second.optimizer.iterations) == 3
    for _ in range(3):
        second.train_on_batch(inputs, targets)
    for found, expected in zip(second.optimizer.variables, uninterrupted.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(found.value), ops.convert_to_numpy(expected.value))
    for found, expected in zip(second.get_weights(), uninterrupted.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_it_takes_up_the_state_of_kerass_adam():
    """And the reverse: the same slots in the same order."""
    gradients = problem()
    expected = run(keras.optimizers.Adam(RATE, **EXACT), gradients)
    for kinds in ((FusedAdam, keras.optimizers.Adam), (keras.optimizers.Adam, FusedAdam)):
        variable = keras.Variable(np.zeros((3, 4)), dtype="float32")
        first, second = (kind(RATE, **EXACT) for kind in kinds)
        second.build([variable])
        for optimizer, part in ((first, gradients[:20]), (second, gradients[20:])):
            for gradient in part:
                optimizer.apply([ops.convert_to_tensor(gradient, dtype="float32")], [variable])
            if optimizer is first:
                second.set_weights([ops.convert_to_numpy(each.value) for each in first.variables])
        found = [ops.convert_to_numpy(each.value) for each in (variable, *second.variables)]
        assert_near(found, expected, 2e-6)
