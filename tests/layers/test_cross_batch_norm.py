"""`CrossBatchNorm` against NumPy.

Tolerances: float64 against the oracle 1e-10, gradients against central differences 1e-7 (step 1e-6), float32 1e-5.
"""

import keras
import numpy as np
import pytest
from keras import ops

from igan_tf.layers import CrossBatchNorm
from tests.layers.conformance import check_layer
from tests.layers.gradients import float64_enabled, layer_gradients
from tests.layers.joint_batches import call, joint, scale_and_shift, weights_of, with_random_weights
from tests.parity.cross_batch_norm import cross_batch_norm, cross_statistics, normalize
from tests.parity.minibatch_discrimination import finite_differences

tensorflow_only = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="tf.distribute needs the TensorFlow backend"
)


@pytest.fixture
def float64():
    with float64_enabled():
        yield


def normal(*shape, seed=3):
    return np.random.default_rng(seed).normal(size=shape)


def random_layer(channels, rank=2, dtype="float64", **settings):
    return with_random_weights(CrossBatchNorm(**settings, dtype=dtype), channels, rank)


@pytest.mark.parametrize("shape", [(6, 4), (2, 2), (4, 3, 6), (6, 2, 3, 4), (4, 16, 8, 2)])
@pytest.mark.parametrize("settings", [{}, {"scale": False}, {"center": False}, {"epsilon": 0.1}])
def test_outputs_in_training_equal_the_oracle(float64, shape, settings):
    layer, inputs = random_layer(shape[-1], len(shape), **settings), joint(*shape)
    expected = cross_batch_norm(inputs, **scale_and_shift(layer), epsilon=layer.epsilon)
    # (2, 2) leaves one value a channel: a variance of 0, and 1 / sqrt(1e-5) = 316 multiplies roundings.
    np.testing.assert_allclose(call(layer, inputs, training=True), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(6, 4), (1, 4), (5, 3, 2, 4)])
@pytest.mark.parametrize("settings", [{}, {"scale": False}, {"center": False}, {"epsilon": 0.1}])
def test_outputs_in_inference_equal_the_oracle(float64, shape, settings):
    layer, inputs = random_layer(shape[-1], len(shape), **settings), normal(*shape)
    weights = weights_of(layer)
    moving = weights["moving_mean"], weights["moving_variance"]
    expected = normalize(inputs, *moving, **scale_and_shift(layer), epsilon=layer.epsilon)
    np.testing.assert_allclose(call(layer, inputs), expected, rtol=1e-12, atol=1e-12)
    for name, value in weights_of(layer).items():
        np.testing.assert_array_equal(value, weights[name])


def test_moving_averages_follow_the_statistics(float64):
    layer = random_layer(4, 3, momentum=0.8)
    expected = [weights_of(layer)[name] for name in ("moving_mean", "moving_variance")]
    for seed in range(3):
        inputs = joint(6, 2, 4, seed=seed)
        call(layer, inputs, training=True)
        expected = [0.8 * moving + 0.2 * statistic for moving, statistic in zip(expected, cross_statistics(inputs))]
        found = weights_of(layer)
        np.testing.assert_allclose(found["moving_mean"], expected[0], rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(found["moving_variance"], expected[1], rtol=1e-10, atol=1e-10)


def test_with_the_averages_of_its_own_batch_inference_gives_what_training_gave():
    layer, inputs = random_layer(4, dtype="float32", momentum=0.0), joint(8, 4).astype("float32")
    trained = call(layer, inputs, training=True)
    np.testing.assert_allclose(call(layer, inputs), trained, rtol=1e-5, atol=1e-5)


# Sums over 128 positions are taken in parts.
@pytest.mark.parametrize(("training", "shape"), [(False, (4, 2, 4)), (True, (4, 2, 4)), (True, (2, 128, 2))])
def test_gradients_equal_finite_differences(float64, training, shape):
    layer, inputs, cotangent = random_layer(shape[-1], 3), joint(*shape), normal(*shape, seed=4)
    before = weights_of(layer)
    names = [weight.name for weight in layer.trainable_weights]
    assert names == ["gamma", "beta"]
    to_inputs, to_weights = layer_gradients(layer, inputs, cotangent, training=training)

    def objective(inputs, **weights):
        if training:
            return np.sum(cross_batch_norm(inputs, **weights) * cotangent)
        return np.sum(normalize(inputs, before["moving_mean"], before["moving_variance"], **weights) * cotangent)

    point = {"inputs": inputs, **{name: before[name] for name in names}}
    for name, gradient in [("inputs", to_inputs), *zip(names, to_weights)]:
        expected = finite_differences(lambda value, name=name: objective(**{**point, name: value}), point[name])
        np.testing.assert_allclose(gradient, expected, rtol=1e-7, atol=1e-7, err_msg=name)


# Properties.


def test_each_half_of_the_channels_is_measured_by_its_half_of_the_batch():
    layer = CrossBatchNorm(gamma_initializer="ones", epsilon=1e-12)
    outputs = call(layer, joint(600, 6).astype("float32"), training=True)
    for rows, channels in ((slice(0, 300), slice(0, 3)), (slice(300, 600), slice(3, 6))):
        np.testing.assert_allclose(outputs[rows, channels].mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(outputs[rows, channels].std(0), 1, rtol=1e-5)
    for rows, channels in ((slice(300, 600), slice(0, 3)), (slice(0, 300), slice(3, 6))):
        # In the other half's measure they are three times as wide, or a third.
        wide = 3 if channels.start == 0 else 1 / 3
        np.testing.assert_allclose(outputs[rows, channels].std(0), wide, rtol=0.2)


def test_a_change_of_one_half_moves_its_channels_of_the_other_half_alone():
    layer, inputs = random_layer(4, dtype="float32"), joint(8, 4).astype("float32")
    before = call(layer, inputs, training=True)
    changed = inputs.copy()
    changed[5] += 2
    after = call(layer, changed, training=True)
    # A generated row changed: the real rows' first channels do not know of it, their last ones do.
    np.testing.assert_array_equal(after[:4, :2], before[:4, :2])
    assert (after[:4, 2:] != before[:4, 2:]).all()


def test_in_inference_an_example_ignores_the_others():
    layer, inputs = random_layer(4, dtype="float32"), normal(7, 4).astype("float32")
    whole = call(layer, inputs)
    for row in range(7):
        # Within a rounding: other sizes of batch may be computed by other instructions.
        np.testing.assert_allclose(call(layer, inputs[row : row + 1])[0], whole[row], rtol=1e-6, atol=1e-6)


def test_initial_gamma_is_near_one():
    layer = CrossBatchNorm()
    layer.build((None, 10000))
    gamma = weights_of(layer)["gamma"]
    assert abs(gamma.mean() - 1) < 0.002 and abs(gamma.std() - 0.02) < 0.002


def test_half_precision_takes_statistics_in_float32():
    inputs = (100 + 10 * normal(400, 2)).astype("float16")
    layer = CrossBatchNorm(gamma_initializer="ones", dtype="mixed_float16")
    found = ops.convert_to_numpy(ops.cast(layer(ops.convert_to_tensor(inputs), training=True), "float32"))
    expected = cross_batch_norm(inputs.astype("float64"), np.ones(2), np.zeros(2))
    np.testing.assert_allclose(found, expected, rtol=2**-9, atol=2**-9)


def test_an_open_batch_is_halved_too():
    model = keras.Sequential([keras.Input((3, 4)), random_layer(4, 3, dtype="float32")])
    layer, inputs = model.layers[0], joint(6, 3, 4).astype("float32")
    expected = cross_batch_norm(inputs, **scale_and_shift(layer))
    np.testing.assert_allclose(ops.convert_to_numpy(model(inputs, training=True)), expected, rtol=1e-4, atol=1e-4)


@tensorflow_only
def test_replicas_use_their_own_statistics_and_share_the_moving_averages():
    import tensorflow as tf

    from igan_tf.training.distribution import mirrored_strategy

    strategy = mirrored_strategy()
    batches = [joint(6, 4, seed=seed).astype("float32") for seed in range(2)]
    with strategy.scope():
        layer = CrossBatchNorm(momentum=0.5, gamma_initializer="ones")
        layer.build((None, 4))
    values = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(batches[context.replica_id_in_sync_group])
    )
    outputs = tf.function(lambda values: strategy.run(lambda x: layer(x, training=True), args=(values,)))(values)
    for found, batch in zip(strategy.experimental_local_results(outputs), batches):
        np.testing.assert_allclose(found, cross_batch_norm(batch, np.ones(4), np.zeros(4)), rtol=1e-4, atol=1e-4)
    mean, variance = np.mean([cross_statistics(batch) for batch in batches], axis=0)
    for moving, expected in ((layer.moving_mean, 0.5 * mean), (layer.moving_variance, 0.5 + 0.5 * variance)):
        for replica in strategy.experimental_local_results(moving.value):
            np.testing.assert_allclose(replica, expected, rtol=1e-5, atol=1e-5)


# What is refused.


@pytest.mark.parametrize("shape", [(4,), (None, 3), (None, None), (2, 2, 5)])
def test_shapes_that_cannot_be_halved_are_refused(shape):
    words = "rank 2 or more" if len(shape) < 2 else "even, known number of channels"
    with pytest.raises(ValueError, match=f"CrossBatchNorm needs .*{words}.*Received: input shape"):
        CrossBatchNorm().build(shape)
    with pytest.raises(ValueError, match=words):
        CrossBatchNorm().compute_output_shape(shape)


def test_an_odd_batch_is_refused_in_training_alone():
    layer, inputs = CrossBatchNorm(), normal(3, 4).astype("float32")
    assert call(layer, inputs).shape == (3, 4)
    with pytest.raises(ValueError, match=r"as many real as generated rows in training.*inputs.shape=\(3, 4\)"):
        call(layer, inputs, training=True)


@pytest.mark.parametrize(("name", "value"), [("momentum", 1.5), ("momentum", -0.1), ("epsilon", 0.0), ("epsilon", -1)])
def test_wrong_settings_are_named(name, value):
    with pytest.raises(ValueError, match=f"CrossBatchNorm needs `{name}` .*Received: {name}={value}"):
        CrossBatchNorm(**{name: value})


def test_conformance():
    shape = (4, 3, 2, 4)
    check_layer(
        CrossBatchNorm,
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
