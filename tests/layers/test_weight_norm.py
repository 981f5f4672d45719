"""`WeightNorm` against plain Keras layers that hold the oracle's kernel.

Tolerances: outputs in float64 1e-12 (the plain layer multiplies and adds in another order); gradients against central
differences 1e-7 (step 1e-6); float32 1e-5.
"""

import keras
import numpy as np
import pytest
from keras import layers, ops

from igan_tf.layers import TableGaussianNoise, WeightNorm
from tests.layers.conformance import call, check_layer
from tests.layers.gradients import float64_enabled, layer_gradients
from tests.parity import weight_norm as oracle
from tests.parity.minibatch_discrimination import finite_differences

# name: (class, arguments, input shape)
LAYERS = {
    "dense": (layers.Dense, {"units": 4}, (3, 5)),
    "dense, rank 3": (layers.Dense, {"units": 4}, (2, 3, 5)),
    "conv1d": (layers.Conv1D, {"filters": 4, "kernel_size": 3, "strides": 2, "padding": "same"}, (2, 7, 3)),
    "conv1d causal": (
        layers.Conv1D,
        {"filters": 4, "kernel_size": 3, "padding": "causal", "dilation_rate": 2},
        (2, 7, 3),
    ),
    "conv2d": (layers.Conv2D, {"filters": 4, "kernel_size": (3, 2), "strides": 2, "padding": "same"}, (2, 5, 6, 3)),
    "conv2d dilated": (layers.Conv2D, {"filters": 4, "kernel_size": 2, "dilation_rate": 2}, (2, 5, 5, 3)),
    "conv2d groups": (layers.Conv2D, {"filters": 4, "kernel_size": 2, "groups": 2}, (2, 4, 4, 6)),
    "conv3d": (layers.Conv3D, {"filters": 4, "kernel_size": 2, "strides": (1, 2, 1)}, (2, 3, 4, 3, 2)),
    "conv1d transpose": (
        layers.Conv1DTranspose,
        {"filters": 4, "kernel_size": 3, "strides": 2, "padding": "same"},
        (2, 4, 3),
    ),
    "conv2d transpose": (
        layers.Conv2DTranspose,
        {"filters": 4, "kernel_size": 5, "strides": 2, "padding": "same"},
        (2, 3, 4, 3),
    ),
    "conv2d transpose, output padding": (
        layers.Conv2DTranspose,
        {"filters": 4, "kernel_size": 3, "strides": 2, "output_padding": 1},
        (2, 3, 3, 3),
    ),
    "conv3d transpose": (
        layers.Conv3DTranspose,
        {"filters": 4, "kernel_size": 2, "strides": 2, "padding": "same"},
        (2, 2, 3, 2, 3),
    ),
}
FIRST = {
    "conv1d causal": ((2, 3, 7), {"data_format": "channels_first"}),
    "conv2d": ((2, 3, 5, 6), {"data_format": "channels_first"}),
    "conv2d transpose": ((2, 3, 3, 4), {"data_format": "channels_first"}),
}
SETTINGS = [{}, {"use_bias": False}, {"activation": "softplus"}]


@pytest.fixture
def float64():
    with float64_enabled():
        yield


def normal(*shape, seed=3):
    return np.random.default_rng(seed).normal(size=shape)


def random_layer(name, input_shape=None, epsilon=1e-6, train_scale=True, dtype="float64", **settings):
    """A built `WeightNorm` with every weight away from its initial value."""
    kind, arguments, default_shape = LAYERS[name]
    layer = WeightNorm(kind(**arguments, **settings, dtype=dtype), epsilon=epsilon, train_scale=train_scale)
    layer.build((None, *(input_shape or default_shape)[1:]))
    generator = np.random.default_rng(0)
    for weight in layer.weights:
        weight.assign(generator.normal(scale=0.5, size=weight.shape).astype(weight.dtype))
    return layer


def weights_of(layer):
    return {weight.name: ops.convert_to_numpy(weight.value) for weight in layer.weights}


def plain_layer(layer, input_shape, **changed):
    """The Keras layer alone, with the oracle's kernel."""
    weights = {**weights_of(layer), **changed}
    plain = type(layer.layer).from_config(layer.layer.get_config())
    plain.build((None, *input_shape[1:]))
    unit_axis = -2 if "Transpose" in type(plain).__name__ else -1
    kernel = oracle.effective_kernel(weights["kernel"], weights["scale"], layer.epsilon, unit_axis)
    plain.set_weights([kernel.astype(plain.kernel.dtype), *([weights["bias"]] if plain.use_bias else [])])
    return plain


def plain_outputs(layer, inputs, **changed):
    plain = plain_layer(layer, inputs.shape, **changed)
    if not isinstance(plain, layers.Dense):
        return call(plain, inputs)
    # Keras's own takes float64 through float32 under PyTorch and JAX.
    kernel, *bias = (ops.convert_to_numpy(weight.value) for weight in plain.weights)
    outputs = inputs @ kernel + (bias[0] if bias else 0)
    return np.log1p(np.exp(outputs)) if plain.activation.__name__ == "softplus" else outputs


@pytest.mark.parametrize("settings", SETTINGS, ids=["defaults", "no bias", "softplus"])
@pytest.mark.parametrize("name", LAYERS)
def test_outputs_equal_the_plain_layer_with_the_oracles_kernel(float64, name, settings):
    layer, inputs = random_layer(name, **settings), normal(*LAYERS[name][2])
    expected = plain_outputs(layer, inputs)
    assert expected.shape == tuple(layer.compute_output_shape(inputs.shape))
    np.testing.assert_allclose(call(layer, inputs), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow", reason="channels first: TensorFlow has no such convolution on a CPU"
)
@pytest.mark.parametrize("name", FIRST)
def test_channels_first(float64, name):
    input_shape, settings = FIRST[name]
    layer, inputs = random_layer(name, input_shape, **settings), normal(*input_shape)
    np.testing.assert_allclose(
        call(layer, inputs), call(plain_layer(layer, input_shape), inputs), rtol=1e-12, atol=1e-12
    )
    layer.data_dependent_initialize(ops.convert_to_tensor(inputs))
    outputs = call(layer, inputs)
    axes = (0, *range(2, outputs.ndim))
    np.testing.assert_allclose(outputs.mean(axes), 0, atol=1e-6)
    np.testing.assert_allclose(outputs.std(axes), 1, rtol=1e-6)


@pytest.mark.parametrize("epsilon", [0.0, 1e-6, 1.0])
def test_epsilon_stands_inside_the_root(float64, epsilon):
    layer, inputs = random_layer("dense", epsilon=epsilon), normal(3, 5)
    weights = weights_of(layer)
    kernel = weights["kernel"] * weights["scale"] / np.sqrt((weights["kernel"] ** 2).sum(0) + epsilon)
    np.testing.assert_allclose(call(layer, inputs), inputs @ kernel + weights["bias"], rtol=1e-12, atol=1e-12)
    if not epsilon:
        # Without the constant the kernel's length does not matter, down to very short ones.
        layer.layer.kernel.assign(1e-9 * weights["kernel"])
        np.testing.assert_allclose(call(layer, inputs), inputs @ kernel + weights["bias"], rtol=1e-12, atol=1e-12)


def test_initial_scale_gives_kernels_of_length_one():
    layer = WeightNorm(layers.Conv2DTranspose(4, 3), epsilon=0.0)
    layer.build((None, 5, 5, 3))
    np.testing.assert_array_equal(ops.convert_to_numpy(layer.scale.value), np.ones(4))
    np.testing.assert_array_equal(ops.convert_to_numpy(layer.bias.value), np.zeros(4))
    lengths = np.sqrt((ops.convert_to_numpy(layer.remove().kernel.value) ** 2).sum((0, 1, 3)))
    np.testing.assert_allclose(lengths, 1, rtol=1e-5)


def test_untrained_scale():
    layer = WeightNorm(layers.Dense(4), train_scale=False)
    layer.build((None, 5))
    assert [weight.name for weight in layer.trainable_weights] == ["kernel", "bias"]
    assert [weight.name for weight in layer.non_trainable_weights] == ["scale"]
    layer.trainable = False
    assert not layer.trainable_weights


def test_without_bias_there_is_none():
    layer = WeightNorm(layers.Dense(4, use_bias=False))
    layer.build((None, 5))
    assert layer.bias is None
    assert sorted(weight.name for weight in layer.weights) == ["kernel", "scale"]


@pytest.mark.parametrize("name", ["dense", "conv1d causal", "conv2d transpose, output padding", "conv3d"])
@pytest.mark.parametrize("settings", SETTINGS[1:], ids=["no bias", "softplus"])
def test_gradients_equal_finite_differences(float64, name, settings):
    input_shape = {"conv3d": (1, 2, 3, 2, 1), "conv1d causal": (1, 5, 2)}.get(name, (1, *LAYERS[name][2][1:-1], 2))
    layer = random_layer(name, input_shape, **settings)
    inputs = normal(*input_shape)
    cotangent = normal(*layer.compute_output_shape(inputs.shape), seed=4)
    to_inputs, to_weights = layer_gradients(layer, inputs, cotangent)

    def objective_of(name):
        if name == "inputs":
            return lambda value: np.sum(plain_outputs(layer, value) * cotangent)
        return lambda value: np.sum(plain_outputs(layer, inputs, **{name: value}) * cotangent)

    names = [weight.name for weight in layer.trainable_weights]
    assert sorted(names) == sorted(["kernel", "scale", *(["bias"] if layer.layer.use_bias else [])])
    for weight, gradient in [("inputs", to_inputs), *zip(names, to_weights)]:
        value = inputs if weight == "inputs" else weights_of(layer)[weight]
        if weight == "kernel" and value.size > 24:
            # A direction instead of every element: a hundred evaluations of a convolution are slow.
            direction = normal(*value.shape, seed=5)
            function = objective_of(weight)
            expected = (function(value + 1e-6 * direction) - function(value - 1e-6 * direction)) / 2e-6
            gradient = np.sum(gradient * direction)
        else:
            expected = finite_differences(objective_of(weight), value)
        np.testing.assert_allclose(gradient, expected, rtol=1e-7, atol=1e-7, err_msg=weight)


@pytest.mark.parametrize("name", ["dense", "conv1d causal", "conv2d", "conv2d transpose", "conv3d transpose"])
def test_remove_gives_the_plain_layer(float64, name):
    layer = random_layer(name, activation="relu", train_scale=False)
    inputs = normal(*LAYERS[name][2])
    before = weights_of(layer)
    plain = layer.remove()
    assert type(plain) is LAYERS[name][0]
    assert sorted(weight.name for weight in plain.weights) == ["bias", "kernel"]
    # Keras's own dense layer takes float64 through float32 under PyTorch and JAX.
    tolerance = 1e-5 if name == "dense" else 1e-12
    np.testing.assert_allclose(call(plain, inputs), call(layer, inputs), rtol=tolerance, atol=tolerance)
    # A copy: changing it leaves the normalized layer alone.
    plain.kernel.assign(0 * plain.kernel.value)
    plain.bias.assign(0 * plain.bias.value)
    for weight, value in weights_of(layer).items():
        np.testing.assert_array_equal(value, before[weight], err_msg=weight)


def test_remove_after_loading(tmp_path):
    layer = random_layer("conv2d", dtype="float32")
    model = keras.Sequential([keras.Input(LAYERS["conv2d"][2][1:]), layer])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").layers[-1]
    inputs = normal(*LAYERS["conv2d"][2]).astype("float32")
    np.testing.assert_allclose(call(loaded.remove(), inputs), call(layer, inputs), rtol=1e-5, atol=1e-6)


def test_remove_needs_a_built_layer():
    with pytest.raises(ValueError, match=r"`remove\(\)` needs a built layer. Received: normalized, not yet called"):
        WeightNorm(layers.Dense(4), name="normalized").remove()


@pytest.mark.parametrize("name", ["dense", "conv2d transpose"])
def test_calls_and_predict_leave_weights_bit_equal(name):
    layer = random_layer(name, dtype="float32")
    model = keras.Sequential([keras.Input(LAYERS[name][2][1:]), layer])
    before = weights_of(layer)
    inputs = normal(*LAYERS[name][2]).astype("float32")
    model.predict(inputs, verbose=0)
    call(layer, inputs)
    layer(ops.convert_to_tensor(inputs))
    for weight, value in weights_of(layer).items():
        np.testing.assert_array_equal(value, before[weight], err_msg=weight)


def test_half_precision_sums_norms_in_float32():
    """5,000 squares of 4: float16 has no number beyond 65,504, and the sum of squares is 80,000."""
    layer = WeightNorm(layers.Dense(2, use_bias=False, kernel_initializer="ones", dtype="mixed_float16"))
    assert layer.compute_dtype == "float16"
    layer.build((None, 5000))
    layer.layer.kernel.assign(4 * layer.layer.kernel.value)
    inputs = np.zeros((1, 5000), "float16")
    inputs[0, :10] = 1
    outputs = ops.convert_to_numpy(ops.cast(layer(ops.convert_to_tensor(inputs)), "float32"))
    np.testing.assert_allclose(outputs, 10 / np.sqrt(5000), rtol=2e-3)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="its BiasAdd; others' sums are their own")
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.Dense(16), (300, 16)),
        (layers.Conv2D(16, 3, padding="same"), (8, 20, 20, 16)),
        (layers.Conv2DTranspose(16, 3, padding="same"), (8, 20, 20, 16)),
    ],
    ids=["dense", "convolution", "transposed"],
)
def test_half_precision_sums_biases_gradients_in_float32(policy, layer, shape):
    """TensorFlow's BiasAdd sums bfloat16 in bfloat16: of 300 positive terms it gives 98 %, of 3,200 54 %."""
    layer = WeightNorm(type(layer).from_config(layer.get_config() | {"dtype": policy}), train_scale=False)
    layer.build((None, *shape[1:-1], 2))
    cotangent = np.abs(normal(*shape)).astype("float32")
    _, to_weights = layer_gradients(layer, np.zeros((*shape[:-1], 2), "float32"), cotangent)
    to_bias = dict(zip([weight.name for weight in layer.trainable_weights], to_weights))["bias"]
    expected = cotangent.sum(axis=tuple(range(len(shape) - 1)))
    # A term is rounded to 8 bits, by at most 1/512 and to either side; so is the sum.
    np.testing.assert_allclose(to_bias / expected, 1, atol=1 / 256)


@pytest.mark.parametrize("init_std", [1.0, 0.1])
@pytest.mark.parametrize("name", LAYERS)
def test_data_dependent_initialization(name, init_std):
    kind, arguments, input_shape = LAYERS[name]
    layer = WeightNorm(kind(**arguments, activation="sigmoid"), init_std=init_std)
    layer.build(input_shape)
    layer.scale.assign(np.full(4, 3.0, "float32"))
    layer.bias.assign(np.full(4, 5.0, "float32"))
    inputs = 2 + normal(*input_shape).astype("float32")
    returned = ops.convert_to_numpy(layer.data_dependent_initialize(ops.convert_to_tensor(inputs)))
    outputs = call(layer, inputs)
    np.testing.assert_allclose(returned, outputs, rtol=1e-5, atol=1e-6)
    outputs = outputs.astype("float64")
    pre_activations = (np.log(outputs) - np.log1p(-outputs)).reshape(-1, 4)
    np.testing.assert_allclose(pre_activations.mean(0), 0, atol=2e-5)
    np.testing.assert_allclose(pre_activations.std(0), init_std, rtol=1e-4)


@pytest.mark.parametrize(
    "layer",
    [
        layers.DepthwiseConv1D(3),
        layers.DepthwiseConv2D(3),
        layers.SeparableConv2D(4, 3),
        layers.Embedding(10, 4),
        layers.LSTM(4),
        layers.BatchNormalization(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_refused_layers(layer):
    message = rf"`layer` must be a Dense, Conv1D, .* Received: layer=.* \(of type {type(layer).__name__}\)"
    with pytest.raises(ValueError, match=message):
        WeightNorm(layer)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"init_std": 0}, "`init_std` must be positive. Received: init_std=0"),
        ({"init_std": float("nan")}, "`init_std` must be positive. Received: init_std=nan"),
        ({"epsilon": -1e-6}, "`epsilon` must not be negative. Received: epsilon=-1e-06"),
    ],
)
def test_refused_arguments(settings, message):
    with pytest.raises(ValueError, match=message):
        WeightNorm(layers.Dense(4), **settings)


def test_masks_pass_where_they_pass_the_plain_layer():
    tokens = np.array([[1, 2, 0], [3, 0, 0]])
    masks = []

    class Behind(layers.Layer):
        def call(self, inputs, mask=None):
            masks.append(mask)
            return inputs

    for layer in (layers.Dense(4), WeightNorm(layers.Dense(4)), TableGaussianNoise(0.5)):
        embedded = layers.Embedding(5, 4, mask_zero=True)(tokens)
        Behind()(layer(embedded))
        np.testing.assert_array_equal(ops.convert_to_numpy(masks[-1]), tokens != 0)
    assert WeightNorm(layers.Conv2D(4, 1)).supports_masking == layers.Conv2D(4, 1).supports_masking


def test_an_activity_regularizer_counts_and_is_saved():
    layer = WeightNorm(layers.Dense(4, "relu", activity_regularizer=keras.regularizers.L2(0.5)))
    for each in (layer, WeightNorm.from_config(layer.get_config())):
        outputs = ops.convert_to_numpy(each(np.ones((2, 3), "float32")))
        expected = 0.5 * np.sum(outputs**2) / 2
        assert len(each.losses) == 1
        np.testing.assert_allclose(ops.convert_to_numpy(each.losses[0]), expected, rtol=1e-5)


def test_conformance_of_a_dense_layer():
    check_layer(
        lambda: WeightNorm(layers.Dense(4, activation="relu"), train_scale=False, init_std=0.5, epsilon=0.0),
        (6, 5),
        expected_output_shape=(6, 4),
        expected_weights=[("scale", (4,), False), ("kernel", (5, 4), True), ("bias", (4,), True)],
    )


def test_conformance_of_a_transposed_convolution():
    check_layer(
        lambda: WeightNorm(layers.Conv2DTranspose(3, 5, strides=2, padding="same")),
        (2, 4, 3, 2),
        expected_output_shape=(2, 8, 6, 3),
        expected_weights=[("scale", (3,), True), ("kernel", (5, 5, 3, 2), True), ("bias", (3,), True)],
    )
