import keras
import numpy as np
import pytest
from keras import ops

from igan_tf.losses import (
    explicit_gan_logit,
    gan_logit,
    label_smoothing_discriminator_loss,
    label_smoothing_generator_loss,
    semi_supervised_generator_loss,
    supervised_loss,
    unsupervised_fake_loss,
    unsupervised_loss,
    unsupervised_real_loss,
)
from tests.layers.gradients import float64_enabled, value_and_gradients
from tests.losses.closeness import assert_close
from tests.parity import losses as oracle

REAL = np.random.default_rng(0).normal(scale=2, size=(5, 4)).astype("float32")
FAKE = np.random.default_rng(1).normal(scale=2, size=(3, 4)).astype("float32")
LABELS = np.array([0, 3, 1, 1, 2])


def with_fake_class(logits, fake_logit=0.0):
    return np.concatenate([logits, np.full((len(logits), 1), fake_logit, "float32")], axis=1)


# Each loss of one array of logits, beside its oracle.
LOSSES = {
    "supervised": (lambda x: supervised_loss(x, LABELS), lambda x: oracle.supervised_loss(x, LABELS)),
    "real": (unsupervised_real_loss, oracle.unsupervised_real_loss),
    "smoothed_real": (
        lambda x: unsupervised_real_loss(x, real_target=0.75),
        lambda x: oracle.unsupervised_real_loss(x, 0.75),
    ),
    "fake": (unsupervised_fake_loss, oracle.unsupervised_fake_loss),
    "minimax": (semi_supervised_generator_loss, oracle.semi_supervised_generator_loss),
    "non_saturating": (
        lambda x: semi_supervised_generator_loss(x, form="non_saturating"),
        lambda x: oracle.semi_supervised_generator_loss(x, "non_saturating"),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_agrees_with_the_formula(name):
    loss, expected = LOSSES[name]
    value, (gradient,) = value_and_gradients(loss, [REAL])
    assert_close(value, expected(REAL), rtol=1e-5)
    assert_close(gradient, oracle.numerical_gradient(expected, REAL), atol=1e-6)


@pytest.mark.parametrize("real_target", [1.0, 0.9])
def test_unsupervised_loss_is_the_sum_of_its_halves(real_target):
    value = unsupervised_loss(REAL, FAKE, real_target=real_target)
    expected = oracle.unsupervised_real_loss(REAL, real_target) + oracle.unsupervised_fake_loss(FAKE)
    assert_close(value, expected, rtol=1e-5)


def test_published_form():
    log_z = np.log(oracle.class_mass(REAL))
    softplus = np.log1p(np.exp(log_z))
    assert_close(unsupervised_real_loss(REAL), 0.5 * np.mean(-log_z + softplus), rtol=1e-5)
    assert_close(unsupervised_fake_loss(REAL), 0.5 * np.mean(softplus), rtol=1e-5)
    assert_close(semi_supervised_generator_loss(REAL), -np.mean(softplus), rtol=1e-5)


def test_discriminator_is_z_over_z_plus_one():
    mass = oracle.class_mass(REAL)
    assert_close(ops.sigmoid(gan_logit(REAL)), mass / (mass + 1), rtol=1e-5)
    # It is one less the generated class's share in the softmax over K + 1 logits, the last of them 0.
    shares = ops.convert_to_numpy(ops.softmax(with_fake_class(REAL)))
    assert_close(ops.sigmoid(gan_logit(REAL)), 1 - shares[:, -1], rtol=1e-5)
    # Moving all logits changes D and leaves the classes as they are.
    assert_close(gan_logit(REAL + 3), ops.convert_to_numpy(gan_logit(REAL)) + 3, rtol=1e-5)
    assert_close(supervised_loss(REAL + 3, LABELS), supervised_loss(REAL, LABELS), rtol=1e-5)


def test_explicit_class_at_zero_is_the_fixed_form():
    real, fake = with_fake_class(REAL), with_fake_class(FAKE)
    assert_close(explicit_gan_logit(real), gan_logit(REAL), rtol=1e-6)
    for arguments in ({}, {"real_target": 0.75}):
        explicit = unsupervised_loss(real, fake, explicit_fake_class=True, **arguments)
        assert_close(explicit, unsupervised_loss(REAL, FAKE, **arguments), rtol=1e-6)
    for form in ("minimax", "non_saturating"):
        explicit = semi_supervised_generator_loss(fake, form=form, explicit_fake_class=True)
        assert_close(explicit, semi_supervised_generator_loss(FAKE, form=form), rtol=1e-6)


def test_explicit_class_is_the_last_and_only_differences_count():
    real, fake = with_fake_class(REAL, 1.5), with_fake_class(FAKE, 1.5)
    assert_close(explicit_gan_logit(real), ops.convert_to_numpy(gan_logit(REAL)) - 1.5, rtol=1e-5)
    assert_close(
        unsupervised_loss(real, fake, explicit_fake_class=True), unsupervised_loss(REAL - 1.5, FAKE - 1.5), rtol=1e-5
    )
    # The class loss is over all K + 1 logits.
    assert_close(supervised_loss(real, LABELS), oracle.supervised_loss(real, LABELS), rtol=1e-5)
    # Its gradient reaches the last logit too.
    _, (gradient,) = value_and_gradients(lambda x: unsupervised_real_loss(x, explicit_fake_class=True), [real])
    expected = oracle.numerical_gradient(lambda x: oracle.unsupervised_real_loss(x[:, :-1] - x[:, -1:]), real)
    assert_close(gradient, expected, atol=1e-6)


def test_one_class_is_the_plain_gan():
    real, fake = REAL[:, :1], FAKE[:, :1]
    plain = label_smoothing_discriminator_loss(real[:, 0], fake[:, 0], real_target=1.0)
    assert_close(unsupervised_loss(real, fake), ops.convert_to_numpy(plain) / 2, rtol=1e-5)
    plain = label_smoothing_generator_loss(fake[:, 0], target=1.0)
    assert_close(semi_supervised_generator_loss(fake, form="non_saturating"), plain, rtol=1e-5)
    assert_close(supervised_loss(real, np.zeros(5, int)), 0.0)


@pytest.mark.parametrize("real_target", [0.75, 0.9, 1.0])
def test_smoothed_real_term_is_least_at_its_target(real_target):
    def at(d):
        log_z = np.log(d / (1 - d))
        return float(ops.convert_to_numpy(unsupervised_real_loss(np.full((1, 2), log_z - np.log(2)), real_target)))

    if real_target < 1:
        assert abs(at(real_target)) < 1e-6
        assert at(real_target + 0.05) > 1e-3
    assert at(real_target - 0.05) > 1e-3
    assert_close(at(0.5), oracle.binary_kl(real_target, 0.5) / 2, rtol=1e-5)


@pytest.mark.parametrize("size", [1e4, -1e4])
@pytest.mark.parametrize("explicit_fake_class", [False, True])
def test_stable_for_large_logits(size, explicit_fake_class):
    logits = with_fake_class(np.full((2, 3), size, "float32")) if explicit_fake_class else np.full((2, 3), size)
    logits = logits.astype("float32")
    kind = {"explicit_fake_class": explicit_fake_class}
    losses = {
        "real": (lambda x: unsupervised_real_loss(x, **kind), 0.5 * max(-size, 0)),
        "smoothed": (lambda x: unsupervised_real_loss(x, 0.75, **kind), 0.125 * size if size > 0 else -0.375 * size),
        "fake": (lambda x: unsupervised_fake_loss(x, **kind), 0.5 * max(size, 0)),
        "minimax": (lambda x: semi_supervised_generator_loss(x, **kind), -max(size, 0)),
        "non_saturating": (lambda x: semi_supervised_generator_loss(x, "non_saturating", **kind), max(-size, 0)),
        "supervised": (lambda x: supervised_loss(x[:, :3], np.array([0, 1])), np.log(3)),
    }
    for name, (loss, expected) in losses.items():
        value, (gradient,) = value_and_gradients(loss, [logits])
        assert_close(value, expected, rtol=1e-3, atol=1e-6, err_msg=name)
        assert np.isfinite(gradient).all(), name


def test_supervised_loss_is_exact_between_large_logits():
    logits = np.array([[1e4, 1e4 - 2, -1e4]], "float32")
    assert_close(supervised_loss(logits, np.array([1])), 2 + np.log1p(np.exp(-2)), rtol=1e-5)
    assert_close(supervised_loss(np.array([[0.5, -np.inf]], "float32"), np.array([0])), 0.0)


def test_unlabelled_examples_are_left_out_of_the_mean():
    labels = np.where(np.arange(len(LABELS)) % 2, LABELS, -1)
    expected = oracle.supervised_loss(REAL[1::2], LABELS[1::2])
    assert_close(supervised_loss(REAL, labels), expected, rtol=1e-5)
    assert ops.convert_to_numpy(supervised_loss(REAL, np.full_like(LABELS, -1))) == 0


@pytest.mark.parametrize("label", [-2, 4])
def test_a_label_without_a_column_gives_nan(label):
    labels = LABELS.copy()
    labels[2] = label
    assert np.isnan(ops.convert_to_numpy(supervised_loss(REAL, labels)))


def test_half_precision_logits_give_float32_losses():
    for dtype in ("float16", "bfloat16"):
        logits = ops.cast(REAL, dtype)
        rounded = ops.convert_to_numpy(ops.cast(logits, "float32"))
        for name, (loss, expected) in LOSSES.items():
            value = loss(logits)
            assert keras.backend.standardize_dtype(value.dtype) == "float32", name
            assert_close(value, expected(rounded), rtol=1e-5, err_msg=name)


def test_float64_is_kept():
    with float64_enabled():
        logits = ops.convert_to_tensor(REAL.astype("float64"))
        for name, (loss, expected) in LOSSES.items():
            value = loss(logits)
            assert keras.backend.standardize_dtype(value.dtype) == "float64", name
            assert_close(value, expected(REAL.astype("float64")), rtol=1e-9, err_msg=name)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.function")
def test_compiled_with_an_unknown_batch_size():
    import tensorflow as tf

    signature = [tf.TensorSpec((None, 4)), tf.TensorSpec((None, 4)), tf.TensorSpec((None,), tf.int64)]

    def losses(real, fake, labels):
        return supervised_loss(real, labels), unsupervised_loss(real, fake, 0.9), semi_supervised_generator_loss(fake)

    eager = losses(REAL, FAKE, LABELS)
    for jit_compile in (False, True):
        compiled = tf.function(losses, input_signature=signature, jit_compile=jit_compile)
        assert_close(compiled(REAL, FAKE, LABELS), eager, rtol=1e-5)


def test_invalid_arguments():
    with pytest.raises(ValueError, match=r"Logits must have shape \(N, K\), K at least 1. Received: shape=\(5,\)"):
        gan_logit(REAL[:, 0])
    with pytest.raises(ValueError, match=r"Logits must have shape \(N, K\), K at least 2. Received: shape=\(5, 1\)"):
        explicit_gan_logit(REAL[:, :1])
    for function in (unsupervised_real_loss, unsupervised_fake_loss, semi_supervised_generator_loss):
        with pytest.raises(ValueError, match=r"Logits must have shape \(N, K\)"):
            function(REAL[None])
    with pytest.raises(ValueError, match=r"`labels` must be integers. Received: dtype=float32"):
        supervised_loss(REAL, LABELS.astype("float32"))
    with pytest.raises(ValueError, match=r"labels of shape \(5, 1\), logits of shape \(5, 4\)"):
        supervised_loss(REAL, LABELS[:, None])
    with pytest.raises(ValueError, match=r"labels of shape \(3,\), logits of shape \(5, 4\)"):
        supervised_loss(REAL, LABELS[:3])
    for function in (unsupervised_real_loss, lambda x, real_target: unsupervised_loss(x, x, real_target)):
        with pytest.raises(ValueError, match=r"`real_target` must lie in \[0, 1\]. Received: real_target=1.2"):
            function(REAL, real_target=1.2)
    with pytest.raises(ValueError, match=r"`form` must be .* Received: form='wgan'"):
        semi_supervised_generator_loss(FAKE, form="wgan")
