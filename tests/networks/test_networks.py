"""The networks' sizes, outputs and settings, against the published ones."""

import keras
import numpy as np
import pytest
from keras import ops

from igan_tf.layers import BatchStatisticsNorm, GaussianNoise, WeightNorm
from igan_tf.networks import NETWORKS, digits, mnist


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


def parameters(network):
    """Trained and fixed weights of every layer that has any. (Seed generators' states are no parameters.)"""
    layers = [layer for layer in network.layers if layer.weights]
    return {layer.name: (count(layer.trainable_weights), count(layer.non_trainable_weights)) for layer in layers}


def test_mnist_generator_parameters():
    """Facts, section 2: z 100 -> dense 500, BN without gamma -> the same again -> dense 784, scale trained."""
    assert parameters(mnist.build_generator()) == {
        "dense_1": (100 * 500, 0),  # 50,000; the bias is the normalization's
        "norm_1": (500, 0),  # beta
        "dense_2": (500 * 500, 0),  # 250,000
        "norm_2": (500, 0),
        "pixels": (500 * 784 + 784 + 784, 0),  # kernel 392,000, bias, scale
    }
    # 50,000 + 500 + 250,000 + 500 + 393,568
    assert count(mnist.build_generator().weights) == 694_568


def test_mnist_discriminator_parameters():
    """Facts, section 2: 784 -> 1000 -> 500 -> 250 -> 250 -> 250 -> 10; scale trained in the logits alone."""
    discriminator = mnist.build_discriminator()
    assert parameters(discriminator) == {
        "dense_1": (784 * 1000 + 1000, 1000),  # kernel 784,000, bias; fixed scale
        "dense_2": (1000 * 500 + 500, 500),  # 500,000
        "dense_3": (500 * 250 + 250, 250),  # 125,000
        "dense_4": (250 * 250 + 250, 250),  # 62,500
        "dense_5": (250 * 250 + 250, 250),  # 62,500
        "logits": (250 * 10 + 10 + 10, 0),  # kernel 2,500, bias, scale
    }
    # Kernels 784,000 + 500,000 + 125,000 + 62,500 + 62,500 + 2,500 = 1,536,500; biases 1000 + 500 + 3 * 250 + 10
    # = 2,260; the logits' scale 10.
    assert count(discriminator.trainable_weights) == 1_536_500 + 2_260 + 10
    # The other layers' scales: 1000 + 500 + 3 * 250.
    assert count(discriminator.weights) - count(discriminator.trainable_weights) == 2_250


def test_digits_parameters():
    """z 50 -> 128 -> 128 -> 64 pixels; 64 -> 250 -> 125 -> 125 -> 10."""
    # 50 * 128 + 128 + 128 * 128 + 128 + 128 * 64 + 2 * 64
    assert count(digits.build_generator().weights) == 31_360
    # Kernels 16,000 + 31,250 + 15,625 + 1,250, biases 250 + 125 + 125 + 10, the logits' scale 10.
    assert count(digits.build_discriminator().trainable_weights) == 64_125 + 510 + 10


def test_mnist_discriminator_settings():
    discriminator = mnist.build_discriminator()
    noises = [layer.stddev for layer in discriminator.layers if isinstance(layer, GaussianNoise)]
    assert noises == [0.3, 0.5, 0.5, 0.5, 0.5, 0.5]
    normalized = [layer for layer in discriminator.layers if isinstance(layer, WeightNorm)]
    assert [layer.epsilon for layer in normalized] == [0] * 6
    assert [layer.train_scale for layer in normalized] == [False] * 5 + [True]
    assert [layer.init_std for layer in normalized] == [1] * 6
    assert [layer.layer.activation.__name__ for layer in normalized] == ["relu"] * 5 + ["linear"]
    for layer in normalized:
        # N(0, 0.1): the standard error of the logits' 2,500 values is 0.0014.
        assert abs(ops.convert_to_numpy(layer.layer.kernel.value).std() - 0.1) < 0.006, layer.name
    kernels = [ops.convert_to_numpy(layer.layer.kernel.value) for layer in normalized[3:5]]
    assert np.any(kernels[0] != kernels[1]), "every layer draws its own kernel"
    order = [layer.name for layer in discriminator.layers if isinstance(layer, GaussianNoise | WeightNorm)]
    assert order == ["noise_0", *[f"{kind}_{index}" for index in range(1, 6) for kind in ("dense", "noise")], "logits"]


def test_mnist_generator_settings():
    generator = mnist.build_generator()
    norms = [layer for layer in generator.layers if isinstance(layer, BatchStatisticsNorm)]
    assert [(norm.center, norm.scale, norm.epsilon) for norm in norms] == [(True, False, 1e-6)] * 2
    pixels = generator.get_layer("pixels")
    assert (pixels.train_scale, pixels.epsilon, pixels.layer.activation.__name__) == (True, 1e-6, "sigmoid")
    activations = [layer for layer in generator.layers if isinstance(layer, keras.layers.Activation)]
    assert [layer.activation.__name__ for layer in activations] == ["softplus", "softplus"]
    kernel = ops.convert_to_numpy(generator.get_layer("dense_1").kernel.value)
    limit = np.sqrt(6 / (100 + 500))
    assert 0.99 * limit < np.abs(kernel).max() <= limit, "Glorot uniform"
    assert mnist.LATENT_RANGE == digits.LATENT_RANGE == (0.0, 1.0)


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs(name):
    network = NETWORKS[name]
    generator, discriminator = network.build_generator(), network.build_discriminator()
    side = {"mnist": 28, "digits": 8}[name]
    latents = np.random.default_rng(0).uniform(size=(20, *generator.input_shape[1:])).astype("float32")
    images = generator(latents)
    assert images.shape == (20, side, side, 1) and discriminator.input_shape == (None, side, side, 1)
    values = ops.convert_to_numpy(images)
    assert np.all((values > 0) & (values < 1)) and values.std() > 0.05
    outputs = discriminator(images)
    assert set(outputs) == {"logits", "features"}
    assert outputs["logits"].shape == (20, 10)
    assert outputs["features"].shape == (20, {"mnist": 250, "digits": 125}[name])
    # ReLU's.
    assert np.all(ops.convert_to_numpy(outputs["features"]) >= 0)


@pytest.mark.parametrize("name", NETWORKS)
def test_features_come_before_the_noise(name):
    """In training they are still a ReLU's, with zeros; noise would leave none, and negative values."""
    discriminator = NETWORKS[name].build_discriminator()
    images = np.random.default_rng(0).uniform(size=(20, *discriminator.input_shape[1:])).astype("float32")
    features = ops.convert_to_numpy(discriminator(images, training=True)["features"])
    assert features.min() == 0 and np.mean(features == 0) > 0.1
    # The logits are computed from the features with noise on them.
    logits = discriminator.get_layer("logits")
    noisy = ops.convert_to_numpy(discriminator(images, training=True)["logits"])
    assert np.abs(noisy - ops.convert_to_numpy(logits(features))).max() > 1e-2
    quiet = discriminator(images, training=False)
    expected = ops.convert_to_numpy(logits(quiet["features"]))
    np.testing.assert_allclose(ops.convert_to_numpy(quiet["logits"]), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_other_sizes(name):
    network = NETWORKS[name]
    generator = network.build_generator(image_shape=(4, 6, 3), latent_size=7)
    discriminator = network.build_discriminator(image_shape=(4, 6, 3), num_outputs=2)
    images = generator(np.zeros((2, 7), "float32"))
    assert images.shape == (2, 4, 6, 3)
    assert discriminator(images)["logits"].shape == (2, 2)
