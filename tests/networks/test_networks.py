"""The networks' sizes, outputs and settings, against the published ones."""

import keras
import numpy as np
import pytest
from keras import ops

from igan_tf.evaluation.classifiers import domain
from igan_tf.layers import (
    BatchStatisticsNorm,
    DropReference,
    MinibatchDiscrimination,
    PrependReference,
    TableGaussianNoise,
    VirtualBatchNorm,
    WeightNorm,
)
from igan_tf.networks import NETWORKS, cifar10, digits, imagenet, mnist, mnist_convolutional, strided, svhn
from igan_tf.networks.parts import GeneratorNorm
from igan_tf.networks.registry import GENERATOR_NORMS
from igan_tf.precision import dtype_policy
from tests.networks.counting import count, parameters

DENSE = ("digits", "mnist")
SHAPES = {
    "digits": (8, 8, 1),
    "mnist": (28, 28, 1),
    "mnist_convolutional": (28, 28, 1),
    "cifar10": (32, 32, 3),
    "svhn": (32, 32, 3),
    "strided": (28, 28, 1),
}
FEATURES = {"digits": 125, "mnist": 250, "mnist_convolutional": 192, "cifar10": 192, "svhn": 128, "strided": 256}


def test_mnist_generator_parameters():
    """As published: z 100 -> dense 500, BN without gamma -> the same again -> dense 784, scale trained."""
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
    """As published: 784 -> 1000 -> 500 -> 250 -> 250 -> 250 -> 10; scale trained in the logits alone."""
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


def test_strided_parameters():
    """z 100 -> 7x7x64 -> 14x14x32 -> 28x28; 28x28 -> 14x14x32 -> 7x7x64 -> 256 -> 10."""
    assert parameters(strided.build_generator()) == {
        "dense_1": (100 * 3136, 0),
        "norm_1": (3136, 0),  # each unit has statistics of its own
        "deconv_2": (5 * 5 * 64 * 32, 0),
        "norm_2": (32, 0),
        "pixels": (5 * 5 * 32 + 1 + 1, 0),
    }
    discriminator = strided.build_discriminator(minibatch_discrimination=True)
    assert parameters(discriminator) == {
        "conv_1": (5 * 5 * 32 + 32, 32),
        "conv_2": (5 * 5 * 32 * 64 + 64, 64),
        "dense_3": (3136 * 256 + 256, 256),
        "minibatch_discrimination": (256 * 50 * 5 + 50 * 5 + 50, 0),
        "logits": (306 * 10 + 10 + 10, 0),
    }
    noises = [layer.stddev for layer in discriminator.layers if isinstance(layer, TableGaussianNoise)]
    assert noises == [0.5, 0.5, 0.5]


def test_mnist_discriminator_settings():
    discriminator = mnist.build_discriminator()
    noises = [layer.stddev for layer in discriminator.layers if isinstance(layer, TableGaussianNoise)]
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
    order = [layer.name for layer in discriminator.layers if isinstance(layer, TableGaussianNoise | WeightNorm)]
    assert order == ["noise_0", *[f"{kind}_{index}" for index in range(1, 6) for kind in ("dense", "noise")], "logits"]


def test_mnist_generator_settings():
    generator = mnist.build_generator()
    norms = [layer for layer in generator.layers if isinstance(layer, BatchStatisticsNorm)]
    assert [(norm.center, norm.scale, norm.epsilon) for norm in norms] == [(True, False, 1e-6)] * 2
    pixels = generator.get_layer("pixels")
    assert (pixels.train_scale, pixels.epsilon, pixels.layer.activation.__name__) == (True, 1e-6, "sigmoid")
    activations = [layer for layer in generator.layers if isinstance(layer, keras.layers.Activation)]
    assert [layer.activation.__name__ for layer in activations] == ["softplus", "softplus"]
    for kernel in (generator.get_layer("dense_1").kernel, pixels.layer.kernel):
        limit = np.sqrt(6 / sum(kernel.shape))
        values = np.abs(ops.convert_to_numpy(kernel.value))
        # Of U(-limit, limit): the standard error of the mean of 50,000 absolute values is 0.0013 limits.
        assert 0.99 * limit < values.max() <= limit and abs(values.mean() / limit - 0.5) < 0.01, "Glorot uniform"
    # The digits' output layer starts N(0, 0.1): 8,192 values.
    kernel = ops.convert_to_numpy(digits.build_generator().get_layer("pixels").layer.kernel.value)
    assert abs(kernel.std() - 0.1) < 0.005 and np.abs(kernel).max() > 0.3
    assert NETWORKS["mnist"].latent_range == NETWORKS["digits"].latent_range == (0.0, 1.0)


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs(name):
    network = NETWORKS[name]
    generator, discriminator = network.build_generator(), network.build_discriminator()
    shape = SHAPES[name]
    latents = np.random.default_rng(0).uniform(size=(20, *generator.input_shape[1:])).astype("float32")
    images = generator(latents)
    assert images.shape == (20, *shape) and discriminator.input_shape == (None, *shape)
    values = ops.convert_to_numpy(images)
    assert np.all((values > 0) & (values < 1)) and values.std() > 0.05
    outputs = discriminator(images)
    assert set(outputs) == {"logits", "features"}
    assert outputs["logits"].shape == (20, 10)
    assert outputs["features"].shape == (20, FEATURES[name])
    if name in DENSE:
        # ReLU's.
        assert np.all(ops.convert_to_numpy(outputs["features"]) >= 0)


@pytest.mark.parametrize("name", DENSE)
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


@pytest.mark.parametrize("name", DENSE)
def test_other_sizes(name):
    network = NETWORKS[name]
    generator = network.build_generator(image_shape=(4, 6, 3), latent_size=7)
    discriminator = network.build_discriminator(image_shape=(4, 6, 3), num_outputs=2)
    images = generator(np.zeros((2, 7), "float32"))
    assert images.shape == (2, 4, 6, 3)
    assert discriminator(images)["logits"].shape == (2, 2)


def weight_norm_dense(inputs, units):
    """Kernel, bias, scale."""
    return inputs * units + units + units


def test_cifar10_generator_parameters():
    """As published: z 100 -> dense 4x4x512 -> 5x5 deconv 256 -> 128 -> 3 with weight normalization."""
    assert parameters(cifar10.build_generator()) == {
        "dense_1": (100 * 8192, 0),
        "norm_1": (8192, 0),  # a beta for each of the 4x4x512 units
        "deconv_2": (5 * 5 * 512 * 256, 0),
        "norm_2": (256, 0),
        "deconv_3": (5 * 5 * 256 * 128, 0),
        "norm_3": (128, 0),
        "pixels": (5 * 5 * 128 * 3 + 3 + 3, 0),
    }


@pytest.mark.parametrize(
    ("network", "minibatch_discrimination", "filters"),
    [
        (cifar10, False, (96, 192, 192)),
        (cifar10, True, (96, 192, 192)),
        (svhn, False, (64, 128, 128)),
        (svhn, True, (96, 192, 192)),
    ],
)
def test_convolutional_discriminator_parameters(network, minibatch_discrimination, filters):
    """As published. Kernel and bias are trained, the scale is not but in the logits."""
    first, second, third = filters
    widths = [(3, first)] + [(first, first)] * 2 + [(first, second)] + [(second, second)] * 2
    expected = {
        f"conv_{1 + index // 3}_{1 + index % 3}": (9 * before * after + after, after)
        for index, (before, after) in enumerate(widths)
    }
    expected["conv_3_1"] = (9 * second * third + third, third)
    expected["conv_3_2"] = expected["conv_3_3"] = (third * third + third, third)
    if minibatch_discrimination:
        # theta (192, 100, 5), a scale for each of its 500 columns, a bias for each kernel.
        expected["minibatch_discrimination"] = (third * 500 + 500 + 100, 0)
        expected["logits"] = (weight_norm_dense(third + 100, 10), 0)
    else:
        expected["logits"] = (weight_norm_dense(third, 10), 0)
    discriminator = network.build_discriminator(minibatch_discrimination=minibatch_discrimination)
    found = {name: counts for name, counts in parameters(discriminator).items() if counts != (0, 2)}
    # Dropout and noise have no weights but their seed generators' states of two numbers.
    assert found == expected


def test_convolutional_discriminator_settings():
    for minibatch_discrimination in (False, True):
        discriminator = cifar10.build_discriminator(minibatch_discrimination=minibatch_discrimination)
        kinds = (keras.layers.Dropout, TableGaussianNoise, WeightNorm, MinibatchDiscrimination)
        order = [layer for layer in discriminator.layers if isinstance(layer, kinds)]
        corruption = order.pop(0)
        if minibatch_discrimination:
            assert isinstance(corruption, TableGaussianNoise) and corruption.stddev == 0.2
            assert [layer.num_kernels for layer in order if isinstance(layer, MinibatchDiscrimination)] == [100]
            assert [type(layer) for layer in order[-2:]] == [MinibatchDiscrimination, WeightNorm]
        else:
            assert isinstance(corruption, keras.layers.Dropout) and corruption.rate == 0.2
        drops = [index for index, layer in enumerate(order) if isinstance(layer, keras.layers.Dropout)]
        assert drops == [3, 7] and [order[index].rate for index in drops] == [0.5, 0.5]
        normalized = [layer for layer in order if isinstance(layer, WeightNorm)]
        assert [layer.epsilon for layer in normalized] == [1e-6] * 10
        assert [layer.train_scale for layer in normalized] == [False] * 9 + [True]
        assert [layer.init_std for layer in normalized] == [1] * 9 + [0.1]
        convolutions = [layer.layer for layer in normalized[:-1]]
        assert [layer.kernel_size[0] for layer in convolutions] == [3] * 7 + [1, 1]
        assert [layer.strides[0] for layer in convolutions] == [1, 1, 2, 1, 1, 2, 1, 1, 1]
        assert [layer.padding for layer in convolutions] == ["same"] * 6 + ["valid"] * 3
        # Leaky ReLU of 0.2.
        values = ops.convert_to_numpy(convolutions[0].activation(ops.convert_to_tensor([-1.0, 1.0])))
        np.testing.assert_allclose(values, [-0.2, 1])
        for layer in normalized:
            # N(0, 0.05); the standard error of the first's 2,592 values is 0.0007.
            assert abs(ops.convert_to_numpy(layer.layer.kernel.value).std() - 0.05) < 0.003, layer.name


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in DENSE])
def test_activations_and_scales_of_convolutional_networks(name):
    """ReLU after each of the generator's normalizations, leaky ReLU in the discriminator; scales of the last layers."""
    generator = NETWORKS[name].build_generator(SHAPES[name], width=0.1)
    activations = [layer for layer in generator.layers if isinstance(layer, keras.layers.Activation)]
    norms = [layer for layer in generator.layers if isinstance(layer, BatchStatisticsNorm)]
    assert [layer.activation.__name__ for layer in activations] == ["relu"] * len(norms) and norms
    pixels = generator.get_layer("pixels")
    last = "sigmoid" if name == "strided" else "tanh"
    assert (pixels.train_scale, pixels.init_std, pixels.layer.activation.__name__) == (True, 0.1, last)
    discriminator = NETWORKS[name].build_discriminator(SHAPES[name], width=0.1)
    *hidden, logits = [layer for layer in discriminator.layers if isinstance(layer, WeightNorm)]
    assert {(layer.layer.activation.__name__, layer.train_scale, layer.init_std) for layer in hidden} == {
        ("leaky_relu", False, 1.0)
    }
    assert (logits.layer.activation.__name__, logits.init_std) == ("linear", 1.0 if name == "strided" else 0.1)


def test_convolutional_discriminator_sees_minus_one_to_one():
    discriminator = cifar10.build_discriminator()
    images = np.random.default_rng(0).random((2, 32, 32, 3)).astype("float32")
    kernel, bias = (ops.convert_to_numpy(w) for w in discriminator.get_layer("conv_1_1").layer.weights[:2])
    inner = keras.Model(discriminator.input, discriminator.get_layer("conv_1_1").output)
    found = ops.convert_to_numpy(inner(images))[:, 5, 7]
    patch = (2 * images - 1)[:, 4:7, 6:9]
    normalized = kernel / np.sqrt((kernel**2).sum((0, 1, 2)) + 1e-6)
    expected = np.einsum("nhwc,hwcf->nf", patch, normalized) + bias
    np.testing.assert_allclose(found, np.where(expected > 0, expected, 0.2 * expected), rtol=1e-4, atol=1e-5)


def test_convolutional_features_are_means_over_positions():
    discriminator = cifar10.build_discriminator()
    images = np.random.default_rng(0).random((3, 32, 32, 3)).astype("float32")
    outputs = discriminator(images)
    inner = keras.Model(discriminator.input, discriminator.get_layer("conv_3_3").output)
    maps = ops.convert_to_numpy(inner(images))
    assert maps.shape == (3, 6, 6, 192)
    np.testing.assert_allclose(ops.convert_to_numpy(outputs["features"]), maps.mean((1, 2)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [9, 16, 29, 40])
def test_convolutional_networks_at_other_sizes(side):
    images = cifar10.build_generator((side, side + 8, 1), width=0.1)(np.zeros((2, 100), "float32"))
    assert images.shape == (2, side, side + 8, 1)
    assert cifar10.build_discriminator((side, side + 8, 1), 4, width=0.1)(images)["logits"].shape == (2, 4)


def test_convolutional_networks_name_the_size_they_cannot_have():
    with pytest.raises(ValueError, match=r"at least 9 x 9. Received: image_shape=\(8, 32, 3\)"):
        cifar10.build_discriminator((8, 32, 3))


def test_mnist_convolutional_is_the_published_one():
    """As published: 4x4x512, the last 5x5 transposed convolution down to 28x28; D's first pads 28 to 32 positions with
    black, noise of 0.2 is on the image alone, and nothing rescales it."""
    generator = mnist_convolutional.build_generator()
    assert generator.get_layer("map_1").output.shape == (None, 4, 4, 512)
    assert generator.get_layer("pixels").output.shape == (None, 32, 32, 1)
    whole = keras.Model(generator.input, generator.get_layer("pixels").output)
    latents = np.random.default_rng(0).random((3, 100), "float32")
    inner = ops.convert_to_numpy(whole(latents))[:, 2:30, 2:30]
    np.testing.assert_allclose(ops.convert_to_numpy(generator(latents)), inner / 2 + 0.5, rtol=1e-5, atol=1e-6)

    discriminator = mnist_convolutional.build_discriminator(minibatch_discrimination=True)
    assert "rescaling" not in [layer.name for layer in discriminator.layers]
    noise = discriminator.get_layer("corruption")
    assert isinstance(noise, TableGaussianNoise) and noise.stddev == 0.2
    assert discriminator.get_layer("conv_1_1").output.shape == (None, 32, 32, 96)
    framed = keras.Model(discriminator.input, discriminator.get_layer("border").output)
    images = np.random.default_rng(1).random((2, 28, 28, 1), "float32")
    found = ops.convert_to_numpy(framed(images, training=True))
    assert np.all(found[:, 2:30, 2:30] != images)
    found[:, 2:30, 2:30] = 0
    assert not np.any(found)


@pytest.mark.parametrize("name", DENSE)
def test_dense_minibatch_discrimination(name):
    """Minibatch features are computed from features without noise, and none lies between them and the logits."""
    plain = NETWORKS[name].build_discriminator()
    discriminator = NETWORKS[name].build_discriminator(minibatch_discrimination=True)
    names = [layer.name for layer in plain.layers]
    last_noise = names[-2]
    assert last_noise.startswith("noise_")
    assert [layer.name for layer in discriminator.layers] == [*names[:-2], "minibatch_discrimination", "logits"]
    images = np.random.default_rng(0).uniform(size=(20, *SHAPES[name])).astype("float32")
    outputs = discriminator(images, training=True)
    expected = discriminator.get_layer("minibatch_discrimination")(outputs["features"])
    expected = discriminator.get_layer("logits")(expected)
    logits = ops.convert_to_numpy(outputs["logits"])
    np.testing.assert_allclose(logits, ops.convert_to_numpy(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("norm", GENERATOR_NORMS)
def test_the_generators_norm_is_all_that_differs(name, norm):
    layers = {
        kind: NETWORKS[name].build_generator(norm=kind, reference_size=7, width=0.1).layers for kind in ("batch", norm)
    }
    kinds = (BatchStatisticsNorm, VirtualBatchNorm, PrependReference, DropReference)
    others = {kind: [layer.name for layer in found if not isinstance(layer, kinds)] for kind, found in layers.items()}
    assert others[norm] == others["batch"]
    norms = [layer for layer in layers[norm] if isinstance(layer, BatchStatisticsNorm | VirtualBatchNorm)]
    expected = {"batch": BatchStatisticsNorm, "virtual": VirtualBatchNorm, "none": None}[norm]
    hidden = 3 if name in ("mnist_convolutional", "cifar10", "svhn") else 2
    assert [type(layer) for layer in norms] == [expected] * (0 if norm == "none" else hidden)
    assert all(layer.center and not layer.scale for layer in norms)
    biased = [layer for layer in layers[norm] if getattr(layer, "use_bias", False)]
    assert len(biased) == (0 if norm != "none" else hidden)


@pytest.mark.parametrize("name", NETWORKS)
def test_with_virtual_batch_norm_an_image_does_not_depend_on_its_batch(name):
    generator = NETWORKS[name].build_generator(norm="virtual", reference_size=7, width=0.1)
    reference = generator.get_layer("reference")
    low, high = NETWORKS[name].latent_range
    assert (reference.reference_size, reference.minval, reference.maxval) == (7, low, high)
    latents = np.random.default_rng(0).random((5, *generator.input_shape[1:])).astype("float32")
    together, alone = generator(latents), generator(latents[3:4])
    assert together.shape[0] == 5
    np.testing.assert_allclose(ops.convert_to_numpy(together)[3:4], ops.convert_to_numpy(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_width_scales_every_hidden_layer(name):
    plain, half = (NETWORKS[name].build_discriminator(width=width) for width in (1.0, 0.5))
    for layer, thin in zip(plain.layers, half.layers):
        if isinstance(layer, WeightNorm) and layer.name != "logits":
            assert thin.layer.kernel.shape[-1] == round(layer.layer.kernel.shape[-1] / 2)
    assert half.get_layer("logits").output.shape == (None, 10)
    generator = NETWORKS[name].build_generator(width=0.5)
    assert generator.output_shape == (None, *SHAPES[name])
    assert generator.get_layer("dense_1").units == NETWORKS[name].build_generator().get_layer("dense_1").units // 2


@pytest.mark.parametrize("name", ["cifar10", "svhn"])
@pytest.mark.parametrize("minibatch_discrimination", [False, True])
def test_the_corruption_can_be_chosen(name, minibatch_discrimination):
    kinds = {"noise": TableGaussianNoise, "dropout": keras.layers.Dropout}
    for corruption, kind in kinds.items():
        discriminator = NETWORKS[name].build_discriminator(
            minibatch_discrimination=minibatch_discrimination, width=0.1, corruption=corruption
        )
        assert type(discriminator.get_layer("corruption")) is kind


@pytest.mark.parametrize("name", NETWORKS)
def test_an_unknown_corruption_is_named(name):
    with pytest.raises(ValueError, match="Received: corruption='blur'"):
        NETWORKS[name].build_discriminator(corruption="blur")


# Spectral normalization, or none, in place of weight normalization.


def kernels(model):
    """The kernel of each weight-normalized layer, as a matrix."""
    layers = [getattr(layer, "layer", layer) for layer in model.layers]
    values = [ops.convert_to_numpy(layer.kernel.value) for layer in layers if hasattr(layer, "kernel")]
    return [value.reshape(-1, value.shape[-1]) for value in values]


@pytest.mark.parametrize("minibatch_discrimination", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_normalization_of_weights_can_be_chosen(name, minibatch_discrimination):
    kinds = {"weight": WeightNorm, "spectral": keras.layers.SpectralNormalization, "none": None}
    models = [
        NETWORKS[name].build_discriminator(
            width=0.1, minibatch_discrimination=minibatch_discrimination, weight_norm=weight_norm
        )
        for weight_norm in kinds
    ]
    assert len({tuple(layer.name for layer in model.layers) for model in models}) == 1
    for model, kind in zip(models, kinds.values()):
        found = [type(layer) for layer in model.layers if isinstance(layer, keras.layers.Wrapper)]
        assert found == [kind] * (len(found) if kind else 0) and len(kernels(model)) == len(kernels(models[0]))
    # The default is the paper's.
    assert type(NETWORKS[name].build_discriminator(width=0.1).get_layer("logits")) is WeightNorm
    with pytest.raises(ValueError, match=r"`weight_norm` must be one of .* Received: weight_norm='batch'"):
        NETWORKS[name].build_discriminator(width=0.1, weight_norm="batch")


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("digits", "float32"),
        ("digits", "mixed_bfloat16"),
        ("cifar10", "float32"),
        pytest.param("cifar10", "mixed_bfloat16", marks=pytest.mark.slow),
    ],
)
def test_spectral_normalization_makes_the_largest_singular_value_1(name, policy):
    keras.utils.set_random_seed(0)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        discriminator = NETWORKS[name].build_discriminator(width=0.1, weight_norm="spectral")
    finally:
        keras.config.set_dtype_policy(before)
    images = np.random.default_rng(0).random((2, *SHAPES[name]), "float32")
    start = kernels(discriminator)
    # One power iteration a call. It converges as the ratio of the two largest values, which may lie close together.
    for _ in range(100):
        discriminator(images, training=True)
    for kernel, first in zip(kernels(discriminator), start):
        assert np.linalg.svd(kernel, compute_uv=False)[0] == pytest.approx(1, abs=0.03)
        # Nothing is rounded to bfloat16's 8 bits on the way.
        np.testing.assert_allclose(kernel / np.linalg.norm(kernel), first / np.linalg.norm(first), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_sides_that_a_network_takes_are_those_that_it_names(name):
    network = NETWORKS[name]
    side = network.smallest_side
    images = network.build_generator((side, side + 1, 1), width=0.1)(
        np.zeros((2, network.build_generator().input_shape[-1]), "float32")
    )
    logits = network.build_discriminator(images.shape[1:], num_outputs=3, width=0.1)(images)["logits"]
    assert logits.shape == (2, 3) and np.all(np.isfinite(ops.convert_to_numpy(logits)))


def test_an_unknown_norm_is_named():
    with pytest.raises(ValueError, match="Received: norm='layer'"):
        GeneratorNorm("layer")


def test_channels_stay_last_whatever_keras_is_set_to():
    """The user's keras.json may say channels_first, for which TensorFlow has no convolutions on a CPU."""

    def built():
        networks = [NETWORKS[name] for name in ("digits", "strided", "cifar10")]
        builders = [build for network in networks for build in (network.build_generator, network.build_discriminator)]
        models = [build((12, 20, 3), width=0.1) for build in builders]
        models += [imagenet.build_generator((32, 32, 3), 8, reference_size=2, gf_dim=8)]
        models += [imagenet.build_discriminator((32, 32, 3), 3, df_dim=2), domain.build_network((12, 20, 3), 10, 0)]
        return [
            [(type(layer).__name__, getattr(layer, "data_format", None), layer.output.shape) for layer in model.layers]
            for model in models
        ]

    expected = built()
    keras.config.set_image_data_format("channels_first")
    try:
        assert built() == expected
    finally:
        keras.config.set_image_data_format("channels_last")


def test_dense_generators_have_pixels_in_float32_under_half_precision():
    with dtype_policy("mixed_bfloat16"):
        generator = mnist.build_generator(width=0.02)
    assert generator.get_layer("dense_1").compute_dtype == "bfloat16"
    assert generator.get_layer("pixels").compute_dtype == generator.output.dtype == "float32"


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_in_float32_under_half_precision(name):
    with dtype_policy("mixed_bfloat16"):
        discriminator = NETWORKS[name].build_discriminator()
    outputs = {output: tensor.dtype for output, tensor in discriminator.output.items()}
    assert outputs == {"logits": "float32", "features": "bfloat16"}
