import keras
import numpy as np
import pytest
from keras import ops

from igan_tf.losses import (
    label_smoothing_discriminator_loss,
    label_smoothing_fake_loss,
    label_smoothing_generator_loss,
    label_smoothing_real_loss,
    sigmoid_kl_with_logits,
)
from tests.layers.gradients import float64_enabled, value_and_gradients
from tests.losses.closeness import assert_close
from tests.parity import losses as oracle

LOGITS = np.array([-8.0, -2.5, -0.3, 0.0, 0.7, 3.0, 9.0], "float32")


@pytest.mark.parametrize("target", [0.0, 0.375, 0.9, 1.0, np.linspace(0, 1, 7).astype("float32")])
def test_kl_agrees_with_its_definition(target):
    value = sigmoid_kl_with_logits(LOGITS, target)
    assert tuple(value.shape) == LOGITS.shape
    assert_close(value, oracle.sigmoid_kl_with_logits(LOGITS, target), rtol=2e-5, atol=1e-6)
    weights = np.arange(1.0, 8.0, dtype="float32")

    def weighted_sum(logits):
        return ops.sum(ops.multiply(weights, sigmoid_kl_with_logits(logits, target)))

    _, (gradient,) = value_and_gradients(weighted_sum, [LOGITS])
    expected = [w * (oracle.sigmoid(x) - t) for w, x, t in zip(weights, LOGITS, np.broadcast_to(target, (7,)))]
    assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def test_kl_target_is_a_tensor_of_any_dtype_and_broadcasts():
    logits = np.stack([LOGITS, -LOGITS])
    target = ops.convert_to_tensor(np.array([[1], [0]], "int32"))
    value = sigmoid_kl_with_logits(logits, target)
    assert_close(value, oracle.sigmoid_kl_with_logits(logits, [[1], [0]]), rtol=2e-5)


def test_kl_is_zero_where_the_decision_is_the_target():
    targets = np.array([0.1, 0.375, 0.5, 0.9], "float32")
    value, (gradient,) = value_and_gradients(
        lambda x: ops.sum(sigmoid_kl_with_logits(x, targets)), [np.log(targets / (1 - targets))]
    )
    assert_close(value, 0.0, atol=1e-6)
    assert_close(gradient, 0.0, atol=1e-6)


def test_kl_is_exact_for_large_logits():
    logits = np.array([1e4, -1e4, 3e38, -3e38, 25.0, -25.0], "float32")
    value, (gradient,) = value_and_gradients(lambda x: ops.sum(sigmoid_kl_with_logits(x, 1.0)), [logits])
    assert np.isfinite(value) and np.isfinite(gradient).all()
    tail = np.log1p(np.exp(-25.0))
    assert_close(sigmoid_kl_with_logits(logits, 1.0), [0, 1e4, 0, 3e38, tail, 25 + tail], rtol=1e-6)
    assert_close(sigmoid_kl_with_logits(logits, 0.0), [1e4, 0, 3e38, 0, 25 + tail, tail], rtol=1e-6)
    assert_close(sigmoid_kl_with_logits(logits[:2], 0.5), 5e3 - np.log(2), rtol=1e-6)


def test_kl_gradient_to_the_target_is_finite_at_its_ends():
    def total(target):
        return ops.sum(sigmoid_kl_with_logits(np.array([0.5, 0.5, 0.5], "float32"), target))

    _, (gradient,) = value_and_gradients(total, [np.array([0.0, 0.5, 1.0], "float32")])
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("real_target", [0.75, 0.9, 1.0])
def test_discriminator_loss_agrees_with_the_formula(real_target):
    real, fake = LOGITS, LOGITS[:4] + 1
    value, gradients = value_and_gradients(
        lambda a, b: label_smoothing_discriminator_loss(a, b, real_target=real_target), [real, fake]
    )
    expected = oracle.label_smoothing_discriminator_loss(real, fake, real_target)
    assert_close(value, expected, rtol=1e-5)
    assert_close(gradients[0], [(oracle.sigmoid(x) - real_target) / 7 for x in real], rtol=1e-4)
    assert_close(gradients[1], [oracle.sigmoid(x) / 4 for x in fake], rtol=1e-4)
    halves = label_smoothing_real_loss(real, real_target) + label_smoothing_fake_loss(fake)
    assert_close(ops.convert_to_numpy(halves), value, rtol=1e-6)


def test_real_target_is_the_papers_by_default():
    expected = oracle.label_smoothing_discriminator_loss(LOGITS, LOGITS, 0.9)
    assert_close(label_smoothing_discriminator_loss(LOGITS, LOGITS), expected, rtol=1e-5)
    assert_close(label_smoothing_real_loss(LOGITS), label_smoothing_real_loss(LOGITS, 0.9))
    expected = oracle.label_smoothing_generator_loss(LOGITS, target=0.45)
    assert_close(label_smoothing_generator_loss(LOGITS), expected, rtol=1e-5)


@pytest.mark.parametrize("real_target", [0.75, 0.9, 1.0])
def test_best_discriminator_is_scaled_towards_the_data(real_target):
    # Three points with the probabilities 6/10, 3/10, 1/10 under the data and 1/10, 3/10, 6/10 under the model.
    real_points, fake_points = np.repeat([0, 1, 2], [6, 3, 1]), np.repeat([0, 1, 2], [1, 3, 6])

    def loss(logits):
        real, fake = ops.take(logits, real_points), ops.take(logits, fake_points)
        return label_smoothing_discriminator_loss(real, fake, real_target=real_target)

    logits = np.zeros(3, "float32")
    for _ in range(150):
        logits -= 8.0 * value_and_gradients(loss, [logits])[1][0]
    p_data, p_model = np.array([0.6, 0.3, 0.1]), np.array([0.1, 0.3, 0.6])
    best = real_target * p_data / (p_data + p_model)
    assert_close([oracle.sigmoid(logit) for logit in logits], best, atol=1e-4)
    # At equilibrium, here the middle point, that is what the generator aims at by default.
    _, (gradient,) = value_and_gradients(lambda x: label_smoothing_generator_loss(x, real_target), [logits])
    assert_close(gradient[1], 0.0, atol=1e-4)
    assert gradient[0] > 0.01 and gradient[2] < -0.01


@pytest.mark.parametrize("arguments", [{"real_target": 0.75}, {"target": 1.0}, {"real_target": 0.75, "target": 0.2}])
def test_generator_loss_agrees_with_the_formula(arguments):
    value, (gradient,) = value_and_gradients(lambda x: label_smoothing_generator_loss(x, **arguments), [LOGITS])
    assert_close(value, oracle.label_smoothing_generator_loss(LOGITS, **arguments), rtol=1e-5)
    target = arguments.get("target", 0.375)
    assert_close(gradient, [(oracle.sigmoid(x) - target) / 7 for x in LOGITS], rtol=1e-4, atol=1e-7)


def test_half_precision_logits_give_a_float32_loss():
    for dtype in ("float16", "bfloat16"):
        logits = ops.cast(LOGITS, dtype)
        loss = label_smoothing_discriminator_loss(logits, logits)
        assert keras.backend.standardize_dtype(loss.dtype) == "float32"
        rounded = ops.convert_to_numpy(ops.cast(logits, "float32"))
        assert_close(loss, oracle.label_smoothing_discriminator_loss(rounded, rounded), rtol=1e-5)


def test_float64_is_kept():
    with float64_enabled():
        logits = ops.convert_to_tensor(LOGITS.astype("float64"))
        loss = label_smoothing_discriminator_loss(logits, logits)
        assert keras.backend.standardize_dtype(loss.dtype) == "float64"
        assert_close(loss, oracle.label_smoothing_discriminator_loss(LOGITS, LOGITS), rtol=1e-9)
    # A NumPy scalar as target does not raise the precision.
    assert keras.backend.standardize_dtype(sigmoid_kl_with_logits(LOGITS, np.float64(0.9)).dtype) == "float32"


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_targets_outside_the_unit_interval(wrong):
    with pytest.raises(ValueError, match=r"`target` must lie in \[0, 1\]. Received: target="):
        sigmoid_kl_with_logits(LOGITS, wrong)
    with pytest.raises(ValueError, match=r"`target` must lie in \[0, 1\]"):
        sigmoid_kl_with_logits(LOGITS, np.array([0.5] * 6 + [wrong]))
    for function in (label_smoothing_discriminator_loss, label_smoothing_real_loss, label_smoothing_generator_loss):
        logits = (LOGITS, LOGITS) if function is label_smoothing_discriminator_loss else (LOGITS,)
        with pytest.raises(ValueError, match=r"`real_target` must lie in \[0, 1\]. Received: real_target="):
            function(*logits, real_target=wrong)
    with pytest.raises(ValueError, match=r"`target` must lie in \[0, 1\]. Received: target="):
        label_smoothing_generator_loss(LOGITS, target=wrong)


def test_target_of_another_shape():
    with pytest.raises(ValueError, match=r"`target` must broadcast .* of shape \(7, 1\), logits of shape \(7,\)"):
        sigmoid_kl_with_logits(LOGITS, np.ones((7, 1), "float32"))
    with pytest.raises(ValueError, match=r"`target` must broadcast .* of shape \(3,\), logits of shape \(7,\)"):
        sigmoid_kl_with_logits(LOGITS, np.ones(3, "float32"))
