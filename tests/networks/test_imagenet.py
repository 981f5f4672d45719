"""ImageNet's networks against the published ones: sizes at full width, the rest on narrow networks.

Statistics of initial weights are within 5 standard errors of n values: of a mean `deviation / sqrt(n)`, of a deviation
`deviation / sqrt(2 n)`.
"""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from igan_tf.layers import (
    BatchStatisticsNorm,
    ConcatenateNoise,
    CrossBatchNorm,
    DropReference,
    MinibatchDiscrimination,
    PrependReference,
    SeparateBatchNorm,
    TableGaussianNoise,
    VirtualBatchNorm,
)
from igan_tf.networks import imagenet
from igan_tf.networks.registry import DISCRIMINATOR_NORMS, GENERATOR_NORMS
from tests.networks.counting import count, parameters

NORMS = (BatchStatisticsNorm, VirtualBatchNorm, CrossBatchNorm, SeparateBatchNorm, keras.layers.BatchNormalization)
# Of the seven convolutions; 4x4 is left of each side.
STRIDES = {
    32: [2, 2, 2, 1, 1, 1, 1],
    64: [2, 2, 2, 1, 1, 2, 1],
    128: [2, 2, 2, 1, 1, 2, 2],  # as published
    256: [2, 2, 2, 1, 2, 2, 2],
    512: [2, 2, 2, 2, 2, 2, 2],
}


def small_generator(side=32, norm="virtual", latent_size=6, reference_size=3, gf_dim=8, channels=3):
    return imagenet.build_generator((side, side, channels), latent_size, norm, reference_size, gf_dim)


def small_discriminator(side=32, num_outputs=11, norm="cross", minibatch_discrimination=True, df_dim=2, channels=3):
    return imagenet.build_discriminator((side, side, channels), num_outputs, norm, minibatch_discrimination, df_dim)


def of_kind(network, *kinds):
    return [layer for layer in network.layers if isinstance(layer, kinds)]


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def uniform(*shape, low=0.0, seed=0):
    return np.random.default_rng(seed).uniform(low, 1, shape).astype("float32")


# Parameters, counted by hand from the published layers.


@pytest.fixture(scope="module")
def published_generator():
    """What the counts need of the full network, and not its 300 MB."""
    return parameters(imagenet.build_generator())


@pytest.fixture(scope="module")
def published_discriminator():
    return parameters(imagenet.build_discriminator())


GENERATOR = {
    # z 8192 -> 4x4x512 = 8192: kernel 67,108,864, bias 8,192.
    "dense": 8192 * 8192 + 8192,  # 67,117,056
    "norm_4": 2 * 512,  # 1,024: gamma and beta
    # Each transposed convolution sees the map and its noise: 5 * 5 * (channels + noise) * filters + a bias a filter.
    "deconv_8": 25 * (512 + 64) * 256 + 256,  # 3,686,656
    "norm_8": 2 * 256,  # 512
    "deconv_16": 25 * (256 + 64) * 128 + 128,  # 1,024,128
    "norm_16": 2 * 128,  # 256
    "deconv_32": 25 * (128 + 32) * 64 + 64,  # 256,064
    "norm_32": 2 * 64,  # 128
    "deconv_64": 25 * (64 + 16) * 64 + 64,  # 128,064
    "norm_64": 2 * 64,  # 128
    "deconv_128": 25 * (64 + 8) * 64 + 64,  # 115,264
    "norm_128": 2 * 64,  # 128
    "pixels": 25 * (64 + 8) * 3 + 3,  # 5,403
}

DISCRIMINATOR = {
    # 3 * 3 * channels before * filters + a bias a filter; gamma and beta of each filter.
    "conv_1": 9 * 3 * 64 + 64,  # 1,792
    "norm_1": 2 * 64,  # 128
    "conv_2": 9 * 64 * 128 + 128,  # 73,856
    "norm_2": 2 * 128,  # 256
    "conv_3": 9 * 128 * 256 + 256,  # 295,168
    "norm_3": 2 * 256,  # 512
    "conv_4": 9 * 256 * 256 + 256,  # 590,080
    "norm_4": 2 * 256,  # 512
    "conv_5": 9 * 256 * 256 + 256,  # 590,080
    "norm_5": 2 * 256,  # 512
    "conv_6": 9 * 256 * 512 + 512,  # 1,180,160
    "norm_6": 2 * 512,  # 1,024
    "conv_7": 9 * 512 * 512 + 512,  # 2,359,808
    "norm_7": 2 * 512,  # 1,024
    # 4x4x512 = 8192 -> 2560: kernel 20,971,520.
    "dense": 8192 * 2560 + 2560,  # 20,974,080
    "norm_dense": 2 * 2560,  # 5,120
    # 300 kernels of 50 dimensions; the published linear layer's bias, 15,000, cancels in the distances.
    "minibatch_discrimination": 2560 * 300 * 50,  # 38,400,000
    # 2560 features and 300 of each half; 1000 classes and the generated one.
    "logits": (2560 + 2 * 300) * 1001 + 1001,  # 3,164,161
}


def trained(table):
    return {name: counts[0] for name, counts in table.items() if counts[0]}


def test_generator_parameters(published_generator):
    assert trained(published_generator) == GENERATOR
    # Dense 67,117,056; transposed convolutions 3,686,656 + 1,024,128 + 256,064 + 128,064 + 115,264 = 5,210,176; pixels
    # 5,403; normalizations 2 * (512 + 256 + 128 + 64 + 64 + 64) = 2,176.
    assert sum(GENERATOR.values()) == 67_117_056 + 5_210_176 + 5_403 + 2_176 == 72_334_811


def test_generator_state_that_is_not_trained(published_generator):
    fixed = {name: counts[1] for name, counts in published_generator.items() if counts[1]}
    # 16 reference latents; the reference's noise beside every map; each normalization's place for frozen statistics,
    # mean and variance.
    maps = {4: (512, 64), 8: (256, 64), 16: (128, 32), 32: (64, 16), 64: (64, 8), 128: (64, 8)}
    expected = {"reference": 16 * 8192}
    for side, (channels, noise) in maps.items():
        expected |= {f"norm_{side}": 2 * channels, f"noise_{side}": 16 * side * side * noise}
    assert fixed == expected


def test_discriminator_parameters(published_discriminator):
    assert trained(published_discriminator) == DISCRIMINATOR
    # Convolutions 1,792 + 73,856 + 295,168 + 2 * 590,080 + 1,180,160 + 2,359,808 = 5,090,944; dense 20,974,080;
    # minibatch discrimination 38,400,000; logits 3,164,161; normalizations
    # 2 * (64 + 128 + 3 * 256 + 2 * 512 + 2560) = 9,088.
    assert sum(DISCRIMINATOR.values()) == 5_090_944 + 20_974_080 + 38_400_000 + 3_164_161 + 9_088 == 67_638_273


def test_discriminator_state_that_is_not_trained(published_discriminator):
    fixed = {name: counts[1] for name, counts in published_discriminator.items() if counts[1]}
    # A moving mean and variance to each gamma and beta.
    assert fixed == {name: counts for name, counts in DISCRIMINATOR.items() if name.startswith("norm_")}


# How they scale.


def kernels_and_rest(network):
    """By layer: number of weights in the kernel, of which each direction may scale, and in the other trained ones."""
    table = {}
    for layer in network.layers:
        kernels = [weight for weight in layer.trainable_weights if weight.name in ("kernel", "theta")]
        if layer.trainable_weights:
            table[layer.name] = (count(kernels), count(layer.trainable_weights) - count(kernels))
    return table


def test_generator_counts_scale_with_gf_dim():
    single, double = (kernels_and_rest(small_generator(gf_dim=gf_dim)) for gf_dim in (8, 16))
    assert single.keys() == double.keys() and "deconv_32" in single
    for name, (kernel, rest) in single.items():
        # Both sides of a transposed convolution are maps; z and the image's channels stay.
        factor = 4 if name.startswith("deconv") else 2
        assert double[name] == (factor * kernel, rest if name == "pixels" else 2 * rest), name


def test_discriminator_counts_scale_with_df_dim():
    single, double = (kernels_and_rest(small_discriminator(df_dim=df_dim)) for df_dim in (2, 4))
    assert single.keys() == double.keys() and len(single) == 7 + 1 + 8 + 1 + 1
    for name, (kernel, rest) in single.items():
        factor = 2 if name in ("conv_1", "minibatch_discrimination") else 4
        if name == "logits":
            assert (kernel, rest) == ((2 * 40 + 600) * 11, 11) and double[name] == ((4 * 40 + 600) * 11, 11)
        else:
            assert double[name] == (factor * kernel, 2 * rest), name


def test_latent_size():
    tables = {size: kernels_and_rest(small_generator(latent_size=size)) for size in (5, 50)}
    first = 4 * 4 * 8 * 8
    for size, table in tables.items():
        assert table.pop("dense") == (size * first, first)
    assert tables[5] == tables[50]
    generator = small_generator(latent_size=50, reference_size=7)
    assert generator.input_shape == (None, 50)
    assert generator.get_layer("reference").reference.shape == (7, 50)


def test_outputs_and_channels():
    discriminator = small_discriminator(num_outputs=1, channels=1)
    assert discriminator.input_shape == (None, 32, 32, 1)
    assert discriminator.output["logits"].shape == (None, 1)
    assert small_generator(channels=1).output_shape == (None, 32, 32, 1)


# Shapes by side.


def stage_maps(network, names):
    return [tuple(network.get_layer(name).output.shape[1:]) for name in names]


@pytest.mark.parametrize("side", [32, 64, 128, 256, 512])
def test_generator_maps(side):
    generator, sides = small_generator(side), [4]
    while sides[-1] < side:
        sides.append(2 * sides[-1])
    # In eighths of gf_dim, 8 here: the published channels and noise, then the last repeats.
    channels = [64, 32, 16, 8, 8, 8, 8, 8][: len(sides)]
    noises = [8, 8, 4, 2, 1, 1, 1, 1][: len(sides)]
    for one, kept, noise in zip(sides, channels, noises):
        assert stage_maps(generator, [f"norm_{one}", f"relu_{one}"]) == [(one, one, kept)] * 2
        assert stage_maps(generator, [f"noise_{one}"]) == [(one, one, kept + noise)]
    assert [layer.channels for layer in of_kind(generator, ConcatenateNoise)] == noises
    deconvolutions = of_kind(generator, keras.layers.Conv2DTranspose)
    assert [layer.strides for layer in deconvolutions] == [(2, 2)] * (len(sides) - 1) + [(1, 1)]
    assert {layer.kernel_size for layer in deconvolutions} == {(5, 5)}
    assert generator.output_shape == (None, side, side, 3)


def test_noise_channels_at_full_width():
    """64, 64, 32, 16, 8, 8, drawn from where z is drawn."""
    generator = small_generator(128, gf_dim=64, latent_size=1, reference_size=1)
    noises = of_kind(generator, ConcatenateNoise)
    assert [layer.channels for layer in noises] == [64, 64, 32, 16, 8, 8]
    assert {(layer.minval, layer.maxval) for layer in noises} == {imagenet.LATENT_RANGE} == {(-1.0, 1.0)}


@pytest.mark.parametrize("side", STRIDES)
def test_discriminator_maps(side):
    discriminator = small_discriminator(side)
    convolutions = of_kind(discriminator, keras.layers.Conv2D)
    assert [layer.name for layer in convolutions] == [f"conv_{index}" for index in range(1, 8)]
    assert [layer.strides for layer in convolutions] == [(stride, stride) for stride in STRIDES[side]]
    assert [layer.kernel_size for layer in convolutions] == [(3, 3)] * 7
    sides = [side // factor for factor in itertools.accumulate(STRIDES[side], int.__mul__)]
    assert sides[-1] == 4
    # In units of df_dim, 2 here: 64, 128, 256, 256, 256, 512, 512 at full width.
    expected = [(one, one, 2 * multiple) for one, multiple in zip(sides, (1, 2, 4, 4, 4, 8, 8))]
    for prefix in ("conv", "norm", "leaky_relu"):
        assert stage_maps(discriminator, [f"{prefix}_{index}" for index in range(1, 8)]) == expected
    assert stage_maps(discriminator, ["flatten", "dense", "leaky_relu_dense"]) == [(4 * 4 * 16,), (80,), (80,)]
    assert discriminator.output["features"].shape == (None, 80)
    assert discriminator.output["logits"].shape == (None, 11)


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("training", [False, True])
def test_images_go_from_one_to_the_other(side, training):
    generator, discriminator = small_generator(side), small_discriminator(side)
    images = generator(uniform(5, 6, low=-1.0), training=training)
    assert images.shape == (5, side, side, 3)
    values = numpy(images)
    assert np.all((values >= 0) & (values <= 1)) and values.std() > 0.01
    outputs = discriminator(np.concatenate([uniform(5, side, side, 3), values]), training=training)
    assert {name: output.shape for name, output in outputs.items()} == {"logits": (10, 11), "features": (10, 80)}
    assert all(np.all(np.isfinite(numpy(output))) for output in outputs.values())


# The order of the layers, and what the norms change.


def generator_order(norm):
    virtual, normalized = norm == "virtual", norm != "none"
    order = ["latents", *["reference"] * virtual, "dense", "map_4"]
    for side in (4, 8, 16, 32):
        order += [f"deconv_{side}"] * (side > 4) + [f"norm_{side}"] * normalized + [f"relu_{side}", f"noise_{side}"]
    return [*order, *["examples"] * virtual, "pixels", "images"]


@pytest.mark.parametrize("norm", GENERATOR_NORMS)
def test_generator_layers(norm):
    generator = small_generator(norm=norm)
    assert [layer.name for layer in generator.layers] == generator_order(norm)
    expected = {"virtual": VirtualBatchNorm, "batch": BatchStatisticsNorm, "none": None}[norm]
    norms = of_kind(generator, *NORMS)
    assert [type(layer) for layer in norms] == [expected] * (0 if norm == "none" else 4)
    assert all(layer.center and layer.scale for layer in norms)
    # Published: every dense and convolutional layer has a bias, the norm's beta beside it.
    assert all(layer.use_bias for layer in of_kind(generator, keras.layers.Dense, keras.layers.Conv2DTranspose))
    assert {layer.activation.__name__ for layer in of_kind(generator, keras.layers.Activation)} == {"relu"}
    assert generator.get_layer("pixels").activation.__name__ == "tanh"
    begin, noises, end = (of_kind(generator, kind) for kind in (PrependReference, ConcatenateNoise, DropReference))
    assert (len(begin), len(noises), len(end)) == (norm == "virtual", 4, norm == "virtual")
    if norm == "virtual":
        assert {layer.reference_size for layer in (*begin, *norms, *noises, *end)} == {3}
        # From where z comes.
        assert (begin[0].distribution, begin[0].minval, begin[0].maxval) == ("uniform", -1.0, 1.0)
        assert [layer.reference_noise.shape[:3] for layer in noises] == [(3, side, side) for side in (4, 8, 16, 32)]
    else:
        assert {layer.reference_size for layer in noises} == {0}


@pytest.mark.parametrize("minibatch_discrimination", [True, False])
@pytest.mark.parametrize("norm", DISCRIMINATOR_NORMS)
def test_discriminator_layers(norm, minibatch_discrimination):
    discriminator = small_discriminator(norm=norm, minibatch_discrimination=minibatch_discrimination)
    expected = ["images", "rescaling", "corruption"]
    for name in (*range(1, 8), "dense"):
        expected += ["flatten", "dense"] if name == "dense" else [f"conv_{name}"]
        expected += [f"norm_{name}"] * (norm != "none") + [f"leaky_relu_{name}"]
    expected += [*["minibatch_discrimination"] * minibatch_discrimination, "logits"]
    assert [layer.name for layer in discriminator.layers] == expected
    kind = {"cross": CrossBatchNorm, "batch": SeparateBatchNorm, "none": None}[norm]
    norms = of_kind(discriminator, *NORMS)
    assert [type(layer) for layer in norms] == [kind] * (0 if norm == "none" else 8)
    assert all(layer.center and layer.scale and layer.epsilon == 1e-5 for layer in norms)
    assert {layer.negative_slope for layer in of_kind(discriminator, keras.layers.LeakyReLU)} == {0.2}
    assert all(layer.use_bias for layer in of_kind(discriminator, keras.layers.Dense, keras.layers.Conv2D))
    corruption = discriminator.get_layer("corruption")
    assert type(corruption) is TableGaussianNoise and corruption.stddev == 0.1


def test_minibatch_discrimination_is_the_published_one():
    layer = small_discriminator().get_layer("minibatch_discrimination")
    assert type(layer) is MinibatchDiscrimination
    assert (layer.num_kernels, layer.kernel_dim, layer.num_groups) == (300, 50, 2)
    assert (layer.reduction, layer.use_bias, layer.weight_norm) == ("mean_all_pairs", False, False)
    assert layer.output.shape == (None, 80 + 600)
    assert [weight.name for weight in layer.weights] == ["theta"] and layer.theta.shape == (80, 300, 50)


@pytest.mark.parametrize("minibatch_discrimination", [True, False])
def test_logits_are_computed_from_the_features(minibatch_discrimination):
    discriminator = small_discriminator(minibatch_discrimination=minibatch_discrimination)
    outputs = discriminator(uniform(8, 32, 32, 3), training=True)
    hidden = outputs["features"]
    # A leaky ReLU's.
    assert numpy(hidden).min() < 0 < numpy(hidden).max()
    if minibatch_discrimination:
        hidden = discriminator.get_layer("minibatch_discrimination")(hidden)
    expected = numpy(discriminator.get_layer("logits")(hidden))
    np.testing.assert_allclose(numpy(outputs["logits"]), expected, rtol=1e-5, atol=1e-6)


# Initial values.


@pytest.fixture(scope="module")
def initial_generator():
    keras.utils.set_random_seed(1)
    return small_generator(latent_size=64, gf_dim=16)


@pytest.fixture(scope="module")
def initial_discriminator():
    keras.utils.set_random_seed(2)
    return small_discriminator(df_dim=8)


def kernel(layer):
    return numpy(layer.kernel.value).ravel()


def assert_normal(values, deviation):
    """N(0, deviation), not truncated."""
    assert abs(values.mean()) < 5 * deviation / np.sqrt(values.size)
    assert abs(values.std() - deviation) < 5 * deviation / np.sqrt(2 * values.size)
    # All of 1,000 values are within 2.5 deviations once in 250,000 times.
    assert values.size > 1000 and abs(values).max() > 2.5 * deviation


def test_generator_initial_values(initial_generator):
    for layer in of_kind(initial_generator, keras.layers.Dense, keras.layers.Conv2DTranspose):
        last = layer.name == "pixels"
        deviation = 0.075 if last else 0.02
        # Exactly that, and not only what 1,350 values can tell.
        assert layer.kernel_initializer.stddev == deviation
        assert_normal(kernel(layer), deviation)
        np.testing.assert_array_equal(numpy(layer.bias.value), np.float32(-0.45) if last else 0)


def test_discriminator_initial_values(initial_discriminator):
    for layer in of_kind(initial_discriminator, keras.layers.Dense, keras.layers.Conv2D, MinibatchDiscrimination):
        assert layer.kernel_initializer.stddev == 0.02
    for layer in of_kind(initial_discriminator, keras.layers.Dense):
        assert_normal(kernel(layer), 0.02)
    assert_normal(numpy(initial_discriminator.get_layer("minibatch_discrimination").theta.value).ravel(), 0.02)
    for layer in of_kind(initial_discriminator, keras.layers.Conv2D):
        values = kernel(layer)
        # N(0, 0.02) truncated at two deviations has the deviation 0.8796 * 0.02; conv_1 has 216 values.
        assert 0.035 < abs(values).max() <= 0.04
        assert abs(values.std() - 0.8796 * 0.02) < 5 * 0.02 / np.sqrt(2 * values.size)
    for layer in of_kind(initial_discriminator, keras.layers.Dense, keras.layers.Conv2D):
        np.testing.assert_array_equal(numpy(layer.bias.value), 0)


@pytest.mark.parametrize("network", ["initial_generator", "initial_discriminator"])
def test_initial_gamma_and_beta(network, request):
    norms = of_kind(request.getfixturevalue(network), *NORMS)
    gamma = np.concatenate([numpy(layer.gamma.value) for layer in norms])
    # 16 * (8 + 4 + 2 + 1) = 240 values, or 8 * (1 + 2 + 4 + 4 + 4 + 8 + 8 + 40) = 568.
    assert len(gamma) in (240, 568)
    assert abs(gamma.mean() - 1) < 5 * 0.02 / np.sqrt(240) and abs(gamma.std() - 0.02) < 5 * 0.02 / np.sqrt(480)
    assert all((numpy(layer.beta.value) == 0).all() for layer in norms)


def test_every_layer_draws_its_own_values(initial_discriminator):
    kernels = [kernel(initial_discriminator.get_layer(name)) for name in ("conv_4", "conv_5")]
    assert kernels[0].shape == kernels[1].shape and np.any(kernels[0] != kernels[1])


@pytest.mark.parametrize("build", [small_generator, small_discriminator])
def test_initial_values_are_a_function_of_the_seed(build):
    found = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        found.append(build().get_weights())
    for first, again in zip(*found[:2]):
        np.testing.assert_array_equal(first, again)
    assert any(np.any(first != other) for first, other in zip(found[0], found[2]))


# What goes in and comes out.


def test_the_generator_starts_at_its_last_bias():
    """With nothing in the maps an image is tanh(-0.45), brought from [-1, 1] to [0, 1]: a grey of 0.289."""
    generator = small_generator()
    pixels = generator.get_layer("pixels")
    pixels.kernel.assign(ops.zeros_like(pixels.kernel))
    images = numpy(generator(uniform(2, 6, low=-1.0)))
    np.testing.assert_allclose(images, (np.tanh(-0.45) + 1) / 2, rtol=1e-5)


def test_a_generator_that_saturates_stays_between_0_and_1():
    generator = small_generator()
    pixels = generator.get_layer("pixels")
    pixels.kernel.assign(1000 * pixels.kernel)
    images = numpy(generator(uniform(2, 6, low=-1.0)))
    assert images.min() == 0 and images.max() == 1


def test_noise_is_fresh_in_every_call():
    generator, latents = small_generator(), uniform(2, 6, low=-1.0)
    for training in (True, False):
        first, second = (numpy(generator(latents, training=training)) for _ in range(2))
        assert abs(first - second).max() > 1e-3


def rewound(network):
    """Lets the next call draw the noise that the first one drew."""
    for layer in of_kind(network, ConcatenateNoise):
        layer.seed_generator.state.assign(ops.convert_to_tensor([layer.channels, 0], dtype="uint32"))
    return network


def test_rewinding_repeats_the_noise():
    generator, latents = small_generator(), uniform(2, 6, low=-1.0)
    first, second = (numpy(rewound(generator)(latents)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("norm", GENERATOR_NORMS)
def test_whether_an_image_depends_on_its_batch(norm):
    generator, latents = small_generator(norm=norm), uniform(4, 6, low=-1.0)
    changed = latents.copy()
    changed[1:] *= -0.5
    first, second = (numpy(rewound(generator)(batch, training=True)) for batch in (latents, changed))
    # Without normalization the initial weights of 0.02 let little through: 3e-4 of the latents' change arrives.
    assert abs(first[1:] - second[1:]).max() > 1e-4
    distance = abs(first[0] - second[0]).max()
    assert distance > 1e-4 if norm == "batch" else distance < 1e-6


def test_the_discriminator_sees_minus_one_to_one():
    discriminator = small_discriminator()
    inner = keras.Model(discriminator.input, discriminator.get_layer("corruption").output)
    images = uniform(8, 32, 32, 3)
    np.testing.assert_allclose(numpy(inner(images)), 2 * images - 1, atol=1e-6)
    # In training N(0, 0.1) is added, to the image in [-1, 1]: 24,576 values, 5 standard errors.
    noise = numpy(inner(images, training=True)) - (2 * images - 1)
    assert abs(noise.std() - 0.1) < 5 * 0.1 / np.sqrt(2 * noise.size) and abs(noise.mean()) < 5 * 0.1 / np.sqrt(
        noise.size
    )


@pytest.mark.parametrize("norm", DISCRIMINATOR_NORMS)
def test_whether_a_real_images_features_depend_on_the_generated_ones(norm):
    """Without the noise, which is another in every call."""
    discriminator = small_discriminator(norm=norm)
    discriminator.get_layer("corruption").stddev = 0
    for layer in of_kind(discriminator, keras.layers.Conv2D, keras.layers.Dense):
        # Without normalization the initial weights let nothing through.
        layer.kernel.assign(10 * layer.kernel)
    joint = uniform(8, 32, 32, 3)
    changed = joint.copy()
    changed[4:] = changed[4:] ** 3
    first, second = (discriminator(batch, training=True) for batch in (joint, changed))
    features = abs(numpy(first["features"]) - numpy(second["features"]))[:4].max()
    assert features > 1e-2 if norm == "cross" else features < 1e-6
    # By minibatch discrimination the logits depend on both halves in any case.
    assert abs(numpy(first["logits"]) - numpy(second["logits"]))[:4].max() > 1e-6


def test_without_minibatch_discrimination_one_image_is_enough():
    discriminator = small_discriminator(minibatch_discrimination=False)
    images = uniform(3, 32, 32, 3)
    whole, alone = (numpy(discriminator(batch)["logits"]) for batch in (images, images[1:2]))
    np.testing.assert_allclose(whole[1:2], alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("build", [small_generator, small_discriminator])
def test_saved_and_loaded_they_are_the_same(build, tmp_path):
    network = build()
    network.save(tmp_path / "network.keras")
    copy = keras.saving.load_model(tmp_path / "network.keras")
    assert [layer.name for layer in copy.layers] == [layer.name for layer in network.layers]
    weights = [(weight.path, numpy(weight.value)) for weight in network.weights]
    for (path, expected), found in zip(weights, copy.weights, strict=True):
        np.testing.assert_array_equal(numpy(found.value), expected, err_msg=path)
    inputs = uniform(4, *network.input_shape[1:])
    outputs = [rewound(each)(inputs) for each in (network, copy)]
    if isinstance(outputs[0], dict):
        outputs = [each["logits"] for each in outputs]
    np.testing.assert_array_equal(*map(numpy, outputs))


# What is refused.


@pytest.mark.parametrize("build", [imagenet.build_generator, imagenet.build_discriminator])
@pytest.mark.parametrize(
    "size",
    [(64, 32), (32, 64), *((side, side) for side in (-32, 0, 1, 2, 3, 4, 16, 33, 48, 96, 384, 1024))],
)
def test_other_image_shapes_are_named(build, size):
    height, width = size
    message = (
        r"`image_shape` must be square, its side a power of two from 32 to 512\. "
        rf"Received: image_shape=\({height}, {width}, 3\)"
    )
    with pytest.raises(ValueError, match=message):
        build((height, width, 3))


@pytest.mark.parametrize("gf_dim", [-8, 0, 1, 4, 12])
def test_another_gf_dim_is_named(gf_dim):
    with pytest.raises(ValueError, match=f"`gf_dim` must be a multiple of 8. Received: gf_dim={gf_dim}"):
        imagenet.build_generator(gf_dim=gf_dim)


@pytest.mark.parametrize("df_dim", [-2, 0, 1, 7])
def test_another_df_dim_is_named(df_dim):
    with pytest.raises(ValueError, match=f"`df_dim` must be even. Received: df_dim={df_dim}"):
        imagenet.build_discriminator(df_dim=df_dim)


@pytest.mark.parametrize(
    ("build", "norm"),
    [
        (imagenet.build_generator, "cross"),
        (imagenet.build_generator, ""),
        (imagenet.build_discriminator, "virtual"),
        (imagenet.build_discriminator, None),
    ],
)
def test_another_norm_is_named(build, norm):
    with pytest.raises(ValueError, match=rf"`norm` must be one of \('\w+', .*\)\. Received: norm={norm!r}"):
        build(norm=norm)
