"""`SeparateBatchNorm` against NumPy.

Tolerances: float32 against the oracle 1e-5, for values of up to about 10 from statistics of up to 24 terms, each
rounded to 6e-8 of itself; float64 1e-12, but 1e-5 on other backends than TensorFlow, on which Keras's moments pass
through float32. Gradients against central differences of the oracle (step 1e-4) 1e-6 or, on those backends, 1e-5.
"""

import functools
import itertools
import math

import keras
import numpy as np
import pytest
from keras import ops

from igan_tf.layers import SeparateBatchNorm
from tests.layers import joint_batches
from tests.layers.conformance import check_layer
from tests.layers.gradients import float64_enabled, layer_gradients
from tests.layers.joint_batches import call, scale_and_shift, weights_of, with_random_weights

tensorflow_only = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="tf.distribute needs the TensorFlow backend"
)
FLOAT64_TOLERANCE = 1e-12 if keras.backend.backend() == "tensorflow" else 1e-5
HALVES = (slice(0, 3), slice(3, 6))


def statistics(rows):
    """Mean and variance of each channel of `(N, ..., C)`, both `(C,)`, in loops."""
    means, variances = [], []
    for channel in range(rows.shape[-1]):
        values = [float(value) for row in rows for value in row[..., channel].ravel()]
        mean = sum(values) / len(values)
        means.append(mean)
        variances.append(sum((value - mean) ** 2 for value in values) / len(values))
    return np.array(means), np.array(variances)


def normalized(rows, means, variances, gamma, beta, epsilon=1e-5):
    outputs = np.empty(rows.shape)
    for place in np.ndindex(rows.shape):
        channel = place[-1]
        outputs[place] = (rows[place] - means[channel]) / math.sqrt(variances[channel] + epsilon)
        outputs[place] = gamma[channel] * outputs[place] + beta[channel]
    return outputs


def oracle(inputs, gamma, beta, epsilon=1e-5):
    """Each half of `inputs` (N, ..., C) by its own statistics."""
    halves = inputs[: len(inputs) // 2], inputs[len(inputs) // 2 :]
    return np.concatenate([normalized(half, *statistics(half), gamma, beta, epsilon) for half in halves])


joint = functools.partial(joint_batches.joint, dtype="float32")


def random_layer(channels, rank=2, **settings):
    return with_random_weights(SeparateBatchNorm(**settings), channels, rank)


@pytest.mark.parametrize("shape", [(6, 4), (4, 3, 6), (6, 2, 2, 3)])
@pytest.mark.parametrize("settings", [{}, {"scale": False}, {"center": False}, {"epsilon": 0.1}])
def test_outputs_in_training_equal_the_oracle(shape, settings):
    layer, inputs = random_layer(shape[-1], len(shape), **settings), joint(*shape)
    expected = oracle(inputs, **scale_and_shift(layer), epsilon=layer.epsilon)
    np.testing.assert_allclose(call(layer, inputs, training=True), expected, rtol=1e-5, atol=1e-5)


def test_float64_stays_float64():
    with float64_enabled():
        layer, inputs = random_layer(3, 3, dtype="float64"), joint(6, 2, 3, dtype="float64")
        found = call(layer, inputs, training=True)
    assert found.dtype == np.float64
    expected = oracle(inputs, **scale_and_shift(layer))
    np.testing.assert_allclose(found, expected, rtol=FLOAT64_TOLERANCE, atol=FLOAT64_TOLERANCE)


@pytest.mark.parametrize("shape", [(6, 4), (1, 4), (5, 3, 2, 4)])
@pytest.mark.parametrize("settings", [{}, {"scale": False}, {"center": False}, {"epsilon": 0.1}])
def test_outputs_in_inference_equal_the_oracle(shape, settings):
    layer, inputs = random_layer(shape[-1], len(shape), **settings), joint(*shape)
    weights = weights_of(layer)
    moving = weights["moving_mean"], weights["moving_variance"]
    expected = normalized(inputs, *moving, **scale_and_shift(layer), epsilon=layer.epsilon)
    np.testing.assert_allclose(call(layer, inputs), expected, rtol=1e-5, atol=1e-5)
    for name, value in weights_of(layer).items():
        np.testing.assert_array_equal(value, weights[name])


def test_moving_averages_take_in_both_halves():
    layer = random_layer(4, 3, momentum=0.75)
    expected = [weights_of(layer)[name] for name in ("moving_mean", "moving_variance")]
    for seed in range(3):
        inputs = joint(6, 2, 4, seed=seed)
        call(layer, inputs, training=True)
        # The real half first, so that the generated half's weight is 1 / momentum times as large.
        for half in (inputs[:3], inputs[3:]):
            expected = [0.75 * moving + 0.25 * statistic for moving, statistic in zip(expected, statistics(half))]
        found = weights_of(layer)
        np.testing.assert_allclose(found["moving_mean"], expected[0], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found["moving_variance"], expected[1], rtol=1e-5, atol=1e-5)


def test_one_pass_gives_what_two_passes_of_keras_give():
    inputs = joint(8, 3, 4)
    layer, keras_layer = random_layer(4, 3), keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
    keras_layer.build((None, 3, 4))
    keras_layer.set_weights(layer.get_weights())
    expected = np.concatenate([call(keras_layer, half, training=True) for half in (inputs[:4], inputs[4:])])
    np.testing.assert_array_equal(call(layer, inputs, training=True), expected)
    for found, weight in zip(layer.get_weights(), keras_layer.get_weights()):
        np.testing.assert_array_equal(found, weight)


def test_gradients_equal_finite_differences():
    with float64_enabled():
        layer, inputs = random_layer(3, dtype="float64"), joint(6, 3, dtype="float64")
        cotangent = np.random.default_rng(4).normal(size=inputs.shape)
        point = {"inputs": inputs, **scale_and_shift(layer)}
        to_inputs, to_weights = layer_gradients(layer, inputs, cotangent, training=True)
    assert [weight.name for weight in layer.trainable_weights] == ["gamma", "beta"]
    for name, gradient in zip(("inputs", "gamma", "beta"), (to_inputs, *to_weights)):
        expected = np.empty(point[name].shape)
        for place in np.ndindex(expected.shape):
            values = []
            for step in (1e-4, -1e-4):
                moved = point[name].astype("float64")
                moved[place] += step
                values.append(np.sum(oracle(**{**point, name: moved}) * cotangent))
            expected[place] = (values[0] - values[1]) / 2e-4
        tolerance = max(FLOAT64_TOLERANCE, 1e-6)
        np.testing.assert_allclose(gradient, expected, rtol=tolerance, atol=tolerance, err_msg=name)


# Properties.


def test_neither_half_depends_on_the_other_in_training():
    layer, inputs = random_layer(4, 4), joint(8, 2, 3, 4)
    before = call(layer, inputs, training=True)
    for changed_half, other_half in itertools.permutations((slice(0, 4), slice(4, 8))):
        changed = inputs.copy()
        changed[changed_half] = 5 * changed[changed_half] - 7
        changed[changed_half][1] += 2
        after = call(layer, changed, training=True)
        np.testing.assert_array_equal(after[other_half], before[other_half])
        # Within a half each example does depend on the others: one of them is another.
        assert (after[changed_half][0] != before[changed_half][0]).any()


def test_no_gradient_flows_from_one_half_to_the_other():
    layer, inputs = random_layer(4), joint(8, 4)
    for own, other in itertools.permutations((slice(0, 4), slice(4, 8))):
        cotangent = np.zeros(inputs.shape, "float32")
        cotangent[own] = np.random.default_rng(4).normal(size=(4, 4))
        gradient, _ = layer_gradients(layer, inputs, cotangent, training=True)
        assert (gradient[own] != 0).any()
        np.testing.assert_array_equal(gradient[other], 0)


def test_each_half_comes_out_with_mean_0_and_deviation_1():
    outputs = call(SeparateBatchNorm(gamma_initializer="ones", epsilon=1e-12), joint(600, 6), training=True)
    for half in (outputs[:300], outputs[300:]):
        # Sums of 300 numbers of float32, of up to 20.
        np.testing.assert_allclose(half.mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(half.std(0), 1, rtol=1e-5)


def test_in_inference_an_example_ignores_the_others():
    layer, inputs = random_layer(4), joint(7, 4)
    whole = call(layer, inputs)
    for row in range(7):
        # Within a rounding: other sizes of batch may be computed by other instructions.
        np.testing.assert_allclose(call(layer, inputs[row : row + 1])[0], whole[row], rtol=1e-6, atol=1e-6)


def test_initial_values_are_dcgans():
    layer = SeparateBatchNorm()
    layer.build((None, 10000))
    assert (layer.momentum, layer.epsilon) == (0.9, 1e-5)
    weights = weights_of(layer)
    # Standard errors of 10,000 values: 0.0002 and 0.00014.
    assert abs(weights["gamma"].mean() - 1) < 0.001 and abs(weights["gamma"].std() - 0.02) < 0.001
    assert (weights["beta"] == 0).all()
    np.testing.assert_array_equal(SeparateBatchNorm(gamma_initializer="zeros").gamma_initializer((2,)), 0)


def test_an_open_batch_is_halved_too():
    layer = random_layer(4, 3)
    model, inputs = keras.Sequential([keras.Input((3, 4)), layer]), joint(6, 3, 4)
    found = ops.convert_to_numpy(model(inputs, training=True))
    np.testing.assert_allclose(found, oracle(inputs, **scale_and_shift(layer)), rtol=1e-5, atol=1e-5)


@tensorflow_only
def test_a_graph_that_does_not_know_its_batch_halves_it_too():
    import tensorflow as tf

    layer, inputs = random_layer(4), joint(6, 4)
    function = tf.function(lambda x: layer(x, training=True), input_signature=[tf.TensorSpec((None, 4))])
    for batch in (inputs, inputs[1:5]):
        np.testing.assert_allclose(function(batch), oracle(batch, **scale_and_shift(layer)), rtol=1e-5, atol=1e-5)


@tensorflow_only
def test_replicas_use_their_own_statistics_and_share_the_moving_averages():
    import tensorflow as tf

    from igan_tf.training.distribution import mirrored_strategy

    strategy = mirrored_strategy()
    batches = [joint(6, 4), 2 * joint(6, 4, seed=4)]
    with strategy.scope():
        layer = SeparateBatchNorm(momentum=0.5, gamma_initializer="ones")
        layer.build((None, 4))
    values = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(batches[context.replica_id_in_sync_group])
    )
    outputs = tf.function(lambda values: strategy.run(lambda x: layer(x, training=True), args=(values,)))(values)
    for found, batch in zip(strategy.experimental_local_results(outputs), batches):
        np.testing.assert_allclose(found, oracle(batch, np.ones(4), np.zeros(4)), rtol=1e-5, atol=1e-5)
    # 0.5 * (0.5 * initial + 0.5 * real half's) + 0.5 * generated half's, of both replicas' means.
    real, generated = (np.mean([statistics(batch[half]) for batch in batches], axis=0) for half in HALVES)
    for index, (moving, initial) in enumerate(((layer.moving_mean, 0), (layer.moving_variance, 1))):
        expected = 0.25 * initial + 0.25 * real[index] + 0.5 * generated[index]
        replicas = strategy.experimental_local_results(moving.value)
        assert len(replicas) == 2
        for replica in replicas:
            np.testing.assert_allclose(replica, expected, rtol=1e-5, atol=1e-5)


# What is refused.


def test_an_odd_batch_is_refused_in_training_alone():
    layer, inputs = SeparateBatchNorm(), joint(3, 4)
    assert call(layer, inputs).shape == (3, 4)
    with pytest.raises(ValueError, match=r"as many real as generated rows in training.*inputs.shape=\(3, 4\)"):
        call(layer, inputs, training=True)


def test_a_mask_is_refused_in_training():
    layer, inputs = SeparateBatchNorm(), ops.convert_to_tensor(joint(2, 3, 4))
    with pytest.raises(ValueError, match=r"SeparateBatchNorm takes no `mask` in training. Received: mask="):
        layer(inputs, training=True, mask=ops.ones((2, 3), dtype="bool"))


def test_conformance():
    shape = (4, 3, 2, 4)
    check_layer(
        SeparateBatchNorm,
        shape,
        expected_output_shape=shape,
        expected_weights=[
            ("gamma", (4,), True),
            ("beta", (4,), True),
            ("moving_mean", (4,), False),
            ("moving_variance", (4,), False),
        ],
        training_matters=True,
    )


@tensorflow_only
def test_second_derivatives_equal_central_differences():
    """Of the squared gradient to the inputs, as gradient penalties have it; Keras's own layer has others."""
    import tensorflow as tf

    inputs = np.random.default_rng(0).normal(size=(6, 3, 4))
    weights, more = np.random.default_rng(1).normal(size=(2, 6, 3, 4))

    def penalty(layer, inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            total = tf.reduce_sum(weights * tf.tanh(layer(inputs, training=True)))
        # Not all gradients alike, as behind another layer: in their plain sum of squares the error vanishes.
        return tf.reduce_sum(more * tape.gradient(total, inputs) ** 2)

    def relative_error(layer):
        with tf.GradientTape() as tape:
            tape.watch(tensor := tf.constant(inputs))
            value = penalty(layer, tensor)
        found = tape.gradient(value, tensor).numpy()
        expected = np.zeros_like(inputs)
        for place in np.ndindex(inputs.shape):
            step = np.zeros_like(inputs)
            step[place] = 1e-5
            difference = penalty(layer, tf.constant(inputs + step)) - penalty(layer, tf.constant(inputs - step))
            expected[place] = difference / 2e-5
        return np.abs(found - expected).max() / np.abs(expected).max()

    assert relative_error(SeparateBatchNorm(dtype="float64")) < 1e-7
    assert relative_error(keras.layers.BatchNormalization(dtype="float64")) > 1e-2
