import keras
import numpy as np
import pytest
from keras import ops

from igan_tf.losses import feature_matching_loss
from tests.layers.gradients import float64_enabled, value_and_gradients
from tests.losses.closeness import assert_close
from tests.parity import losses as oracle


def features(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("shape", [(5,), (3, 2, 4)])
def test_agrees_with_the_formula(norm, shape):
    real, fake = features(6, *shape), features(4, *shape, seed=1)
    value, (_, gradient) = value_and_gradients(lambda a, b: feature_matching_loss(a, b, norm=norm), [real, fake])
    assert_close(value, oracle.feature_matching_loss(real, fake, norm), rtol=1e-5)
    expected = oracle.numerical_gradient(lambda b: oracle.feature_matching_loss(real, b, norm), fake)
    assert_close(gradient, expected, atol=1e-6)


def test_default_norm_is_l2():
    real, fake = features(6, 5), features(4, 5, seed=1)
    assert_close(feature_matching_loss(real, fake), feature_matching_loss(real, fake, norm="l2"))


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_real_side_gets_no_gradient(norm):
    def loss(real, fake):
        return feature_matching_loss(real, fake, norm=norm)

    _, (gradient, fake_gradient) = value_and_gradients(loss, [features(6, 5), features(4, 5, seed=1)])
    assert gradient is None or not gradient.any()
    assert fake_gradient.any()


def test_only_batch_means_count():
    real = features(6, 5)
    assert_close(feature_matching_loss(real, real[::-1]), 0.0, atol=1e-12)
    assert_close(feature_matching_loss(real, np.tile(real.mean(0), (3, 1))), 0.0, atol=1e-12)


def test_half_precision_features_are_averaged_in_float32():
    # In float16 the sum of 1,000 rows overflows, and the mean's difference of 0.01 is below a unit in the last place.
    real = ops.cast(np.full((1000, 2), 300.0, "float32"), "float16")
    fake = ops.concatenate([real[:999], ops.cast(np.full((1, 2), 310.0, "float32"), "float16")])
    loss = feature_matching_loss(real, fake, norm="l1")
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    assert_close(ops.convert_to_numpy(loss), 0.01, rtol=1e-2)


def test_float64_is_kept():
    with float64_enabled():
        real, fake = features(6, 5).astype("float64"), features(4, 5, seed=1).astype("float64")
        loss = feature_matching_loss(ops.convert_to_tensor(real), ops.convert_to_tensor(fake))
        assert keras.backend.standardize_dtype(loss.dtype) == "float64"
        assert_close(loss, oracle.feature_matching_loss(real, fake), rtol=1e-12)


def test_invalid_arguments():
    with pytest.raises(ValueError, match=r"`norm` must be .* Received: norm='l3'"):
        feature_matching_loss(features(2, 3), features(2, 3), norm="l3")
    with pytest.raises(ValueError, match=r"`real_features` must have shape \(batch, ...\). Received: shape=\(3,\)"):
        feature_matching_loss(features(3), features(2, 3))
    with pytest.raises(ValueError, match=r"`fake_features` must have shape \(batch, ...\). Received: shape=\(\)"):
        feature_matching_loss(features(2, 3), np.float32(1.0))
    with pytest.raises(ValueError, match=r"same number of features. Received: shapes \(2, 3\) and \(2, 1\)"):
        feature_matching_loss(features(2, 3), features(2, 1))
