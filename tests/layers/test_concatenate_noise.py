import keras
import numpy as np
import pytest
from keras import ops

from igan_tf.layers.concatenate_noise import ConcatenateNoise
from tests.layers.conformance import check_layer

tensorflow_only = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="tf.distribute needs the TensorFlow backend"
)


def call(layer, inputs, **arguments):
    return ops.convert_to_numpy(layer(ops.convert_to_tensor(inputs), **arguments))


@pytest.mark.parametrize("reference_size", [0, 3])
def test_conformance(reference_size):
    stored = [("reference_noise", (3, 2, 3, 4), False)] if reference_size else []
    # Bounds that meet: the check compares calls, so the noise has to be the same in each.
    check_layer(
        lambda: ConcatenateNoise(4, reference_size, minval=0.5, maxval=0.5),
        (5, 2, 3, 2),
        expected_output_shape=(5, 2, 3, 6),
        expected_weights=stored,
    )


def test_reference_rows_keep_their_noise_and_examples_get_fresh_noise():
    layer = ConcatenateNoise(4, 3, seed=7)
    inputs = np.random.default_rng(0).normal(size=(6, 2, 2, 5)).astype("float32")
    first, second = call(layer, inputs), call(layer, inputs)
    for outputs in (first, second):
        assert outputs.shape == (6, 2, 2, 9)
        np.testing.assert_array_equal(outputs[..., :5], inputs)
        np.testing.assert_array_equal(outputs[:3, ..., 5:], ops.convert_to_numpy(layer.reference_noise))
    assert np.all(first[3:, ..., 5:] != second[3:, ..., 5:])
    # The stored noise is not what the examples got, nor do two examples get the same.
    assert np.all(first[3:, ..., 5:] != first[:3, ..., 5:])
    assert np.all(first[3, ..., 5:] != first[4, ..., 5:])
    # predict draws too.
    model = keras.Sequential([keras.Input((2, 2, 5)), layer])
    assert np.any(model.predict(inputs, verbose=0)[3:] != model.predict(inputs, verbose=0)[3:])
    # The same seed draws the same.
    again = ConcatenateNoise(4, 3, seed=7)
    np.testing.assert_array_equal(call(again, inputs), first)


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (0.0, 3.0)])
def test_noise_is_uniform(bounds):
    layer = ConcatenateNoise(10, 100, *bounds, seed=0)
    outputs = call(layer, np.zeros((1100, 1), "float32"))
    for noise in (outputs[:100, 1:], outputs[100:, 1:]):
        assert bounds[0] <= noise.min() and noise.max() <= bounds[1]
        # At least 1,000 draws: 5 standard errors and more.
        assert abs(noise.mean() - sum(bounds) / 2) < 0.1 * (bounds[1] - bounds[0])
        assert abs(noise.std() - (bounds[1] - bounds[0]) / 12**0.5) < 0.1 * (bounds[1] - bounds[0])


def test_frozen_is_fresh_everywhere():
    inputs = np.zeros((6, 2), "float32")
    layer, frozen = ConcatenateNoise(4, 3, seed=7), ConcatenateNoise(4, 3, seed=7, frozen=True)
    np.testing.assert_array_equal(call(frozen, inputs[3:]), call(layer, inputs)[3:])
    assert call(frozen, inputs[:2]).shape == (2, 6)


def test_stored_noise_survives_reload(tmp_path):
    inputs = np.zeros((6, 2), "float32")
    model = keras.Sequential([keras.Input((2,)), ConcatenateNoise(4, 3)])
    outputs = call(model, inputs)
    model.save(tmp_path / "model.keras")
    reloaded = call(keras.saving.load_model(tmp_path / "model.keras"), inputs)
    np.testing.assert_array_equal(reloaded[:3], outputs[:3])
    assert np.all(reloaded[3:, 2:] != outputs[3:, 2:])


@tensorflow_only
def test_replicas_draw_different_noise():
    import tensorflow as tf

    from igan_tf.training.distribution import mirrored_strategy

    inputs = tf.zeros((5, 3))
    single = call(ConcatenateNoise(4, 2, seed=7), inputs)
    strategy = mirrored_strategy()
    with strategy.scope():
        layer = ConcatenateNoise(4, 2, seed=7)
        layer.build(inputs.shape)
    values = strategy.run(tf.function(lambda: layer(inputs)))
    first, second = (value.numpy() for value in strategy.experimental_local_results(values))
    np.testing.assert_array_equal(first, single)
    np.testing.assert_array_equal(second[:2], first[:2])
    assert np.all(second[2:, 3:] != first[2:, 3:])


@pytest.mark.parametrize("channels", [0, -1, 2.0, True])
def test_wrong_channels(channels):
    with pytest.raises(ValueError, match=rf"`channels`.*Received: channels={channels!r}"):
        ConcatenateNoise(channels)


@pytest.mark.parametrize("reference_size", [-1, 2.0])
def test_wrong_reference_size(reference_size):
    with pytest.raises(ValueError, match=rf"at least 0\. Received: reference_size={reference_size!r}"):
        ConcatenateNoise(2, reference_size)


def test_wrong_inputs():
    with pytest.raises(ValueError, match=r"Received: minval=2.0, maxval=1.0"):
        ConcatenateNoise(2, minval=2.0)
    with pytest.raises(ValueError, match=r"rank 2 or more. Received: input shape \(8,\)"):
        ConcatenateNoise(2)(np.zeros(8, "float32"))
    with pytest.raises(ValueError, match=r"Received: input shape \(None, None, 3\)"):
        ConcatenateNoise(2, 3)(keras.Input((None, 3)))
    with pytest.raises(ValueError, match=r"larger than its reference_size=3.*Received: input shape \(3, 2\)"):
        ConcatenateNoise(2, 3)(np.zeros((3, 2), "float32"))
