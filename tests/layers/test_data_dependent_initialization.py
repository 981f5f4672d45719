"""`data_dependent_initialization` against a NumPy pass over the same model.

Tolerances: float64 against the oracle 1e-10 (an error of one layer feeds the next); means and deviations that one
float32 pass leaves, 1e-5.
"""

import keras
import numpy as np
import pytest
from keras import layers, ops

from igan_tf.layers import (
    MinibatchDiscrimination,
    TableGaussianNoise,
    WeightNorm,
    data_dependent_initialization,
    initializes_now,
)
from tests.layers.gradients import float64_enabled
from tests.parity import minibatch_discrimination as minibatch_oracle
from tests.parity import weight_norm as oracle


@pytest.fixture
def float64():
    with float64_enabled():
        yield


def normal(*shape, seed=3):
    return np.random.default_rng(seed).normal(size=shape)


def nested_model(dtype):
    """Convolution and dense layer in a model of their own, then minibatch discrimination and logits."""
    body = keras.Sequential(
        [
            keras.Input((4, 4, 2), dtype=dtype),
            WeightNorm(layers.Conv2D(3, 2, activation="softplus", dtype=dtype), train_scale=False, name="conv"),
            layers.Flatten(dtype=dtype),
            WeightNorm(layers.Dense(5, activation="relu", dtype=dtype), epsilon=0.0, name="dense"),
        ],
        name="body",
    )
    images = keras.Input((4, 4, 2), dtype=dtype)
    hidden = MinibatchDiscrimination(4, 2, dtype=dtype, name="minibatch")(body(images))
    logits = WeightNorm(layers.Dense(3, dtype=dtype), init_std=0.1, name="logits")(hidden)
    model = keras.Model(images, logits)
    parts = {name: body.get_layer(name) for name in ("conv", "dense")}
    return model, {**parts, **{name: model.get_layer(name) for name in ("minibatch", "logits")}}


def weights_of(layer):
    return {weight.name: ops.convert_to_numpy(weight.value) for weight in layer.weights}


def oracle_pass(before, inputs):
    """The weights and outputs after one pass: each layer's initialized output is the next one's input."""
    after = {name: dict(weights) for name, weights in before.items()}

    def weight_norm(name, product_of, epsilon, init_std):
        weights = after[name]
        product = product_of(oracle.effective_kernel(weights["kernel"], weights["scale"], epsilon))
        weights["scale"], weights["bias"], outputs = oracle.data_dependent(
            product, weights["scale"], weights["bias"], init_std
        )
        return outputs

    hidden = weight_norm("conv", lambda kernel: oracle.valid_convolution(inputs, kernel), 1e-6, 1.0)
    hidden = np.log1p(np.exp(hidden)).reshape(len(inputs), -1)
    hidden = np.maximum(weight_norm("dense", lambda kernel, x=hidden: x @ kernel, 0.0, 1.0), 0)
    weights = after["minibatch"]
    projections = minibatch_oracle.project(hidden, weights["theta"], weights["log_weight_scale"])
    scale = minibatch_oracle.data_dependent_scale(projections)
    weights["log_weight_scale"] = weights["log_weight_scale"] - np.log(scale)[:, None]
    weights["bias"] = -minibatch_oracle.closeness_features(projections, divide_by=scale).mean(axis=(0, 1))
    hidden = minibatch_oracle.minibatch_discrimination(hidden, **weights)
    return after, weight_norm("logits", lambda kernel: hidden @ kernel, 1e-6, 0.1)


def test_a_nested_model_equals_the_oracle(float64):
    model, parts = nested_model("float64")
    for index, layer in enumerate(parts.values()):
        if hasattr(layer, "scale"):
            layer.scale.assign(1 + normal(*layer.scale.shape, seed=index) ** 2)
            layer.bias.assign(normal(*layer.bias.shape, seed=index))
    before = {name: weights_of(layer) for name, layer in parts.items()}
    inputs = 1 + normal(8, 4, 4, 2)
    expected, expected_outputs = oracle_pass(before, inputs)

    outputs = ops.convert_to_numpy(data_dependent_initialization(model, ops.convert_to_tensor(inputs)))
    np.testing.assert_allclose(outputs, expected_outputs, rtol=1e-10, atol=1e-10)
    for name, layer in parts.items():
        for weight, value in weights_of(layer).items():
            message = f"{name} {weight}"
            np.testing.assert_allclose(value, expected[name][weight], rtol=1e-10, atol=1e-10, err_msg=message)
    # What the model gives from now on is what the pass returned.
    np.testing.assert_allclose(ops.convert_to_numpy(model(inputs)), outputs, rtol=1e-10, atol=1e-10)


def test_pre_activations_have_mean_0_and_the_deviation_asked_for():
    model = keras.Sequential(
        [
            keras.Input((6,)),
            WeightNorm(layers.Dense(8), name="first"),
            WeightNorm(layers.Dense(4), init_std=0.1, name="second"),
        ]
    )
    inputs = (3 + 2 * normal(200, 6)).astype("float32")
    outputs = ops.convert_to_numpy(data_dependent_initialization(model, inputs))
    first = ops.convert_to_numpy(model.get_layer("first")(inputs))
    for values, deviation in ((first, 1.0), (outputs, 0.1)):
        np.testing.assert_allclose(values.mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(values.std(0), deviation, rtol=1e-5)


@pytest.mark.parametrize("use_bias", [True, False])
def test_constant_units_keep_their_values(use_bias):
    layer = WeightNorm(layers.Dense(3, use_bias=use_bias))
    model = keras.Sequential([keras.Input((4,)), layer])
    kernel = normal(4, 3).astype("float32")
    # Unit 1 sees the constant input alone, unit 2 nothing at all.
    kernel[1:, 1] = kernel[:, 2] = 0
    layer.layer.kernel.assign(kernel)
    layer.scale.assign(np.array([2, 3, 4], "float32"))
    if use_bias:
        layer.bias.assign(np.array([5, 6, 7], "float32"))
    inputs = normal(50, 4).astype("float32")
    inputs[:, 0] = 0.3
    data_dependent_initialization(model, inputs)
    weights = weights_of(layer)
    assert weights["scale"][1:].tolist() == [3, 4] and weights["scale"][0] != 2
    if use_bias:
        assert weights["bias"][1:].tolist() == [6, 7] and weights["bias"][0] != 5
    outputs = ops.convert_to_numpy(model(inputs))
    assert np.all(np.isfinite(outputs))
    np.testing.assert_allclose(outputs[:, 0].std(), 1, rtol=1e-5)


def test_one_example_changes_nothing_and_gives_no_nan():
    model = keras.Sequential([keras.Input((4,)), WeightNorm(layers.Dense(3))])
    before = model.get_weights()
    data_dependent_initialization(model, normal(1, 4).astype("float32"))
    for old, new in zip(before, model.get_weights()):
        np.testing.assert_array_equal(new, old)


def test_a_second_pass_on_the_same_batch_changes_nothing_but_rounding(float64):
    """The factors divide by what the first pass set to the value asked for (as long as no noise is drawn)."""
    model, parts = nested_model("float64")
    inputs = 1 + normal(8, 4, 4, 2)
    data_dependent_initialization(model, inputs)
    once = {name: weights_of(layer) for name, layer in parts.items()}
    data_dependent_initialization(model, inputs)
    for name, layer in parts.items():
        for weight, value in weights_of(layer).items():
            np.testing.assert_allclose(value, once[name][weight], rtol=1e-10, atol=1e-10, err_msg=f"{name} {weight}")


def test_kernels_are_left_alone():
    model, parts = nested_model("float32")
    before = {name: weights_of(layer) for name, layer in parts.items()}
    data_dependent_initialization(model, normal(8, 4, 4, 2).astype("float32"))
    for name, layer in parts.items():
        for weight in ("kernel", "theta"):
            if weight in before[name]:
                np.testing.assert_array_equal(weights_of(layer)[weight], before[name][weight])
        assert any(np.any(value != before[name][weight]) for weight, value in weights_of(layer).items()), name


def test_noise_is_on():
    model = keras.Sequential([keras.Input((4,)), TableGaussianNoise(10.0, seed=1), WeightNorm(layers.Dense(3))])
    inputs = normal(500, 4).astype("float32")
    data_dependent_initialization(model, inputs)
    # The scale makes room for the noise's variance of 100: without it the outputs spread by 1 / sqrt(101).
    np.testing.assert_allclose(ops.convert_to_numpy(model(inputs)).std(0), 101**-0.5, rtol=0.3)


def test_a_shared_layer_is_initialized_at_its_first_use():
    shared = WeightNorm(layers.Dense(4), name="shared")
    images = keras.Input((4,))
    model = keras.Model(images, [shared(images), shared(shared(images))])
    inputs = (1 + 3 * normal(100, 4)).astype("float32")
    first, second = (ops.convert_to_numpy(each) for each in data_dependent_initialization(model, inputs))
    np.testing.assert_allclose(first.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(first.std(0), 1, rtol=1e-5)
    np.testing.assert_allclose(second, ops.convert_to_numpy(shared(first)), rtol=1e-5, atol=1e-5)
    assert np.abs(second.std(0) - 1).max() > 1e-3


def test_calls_afterwards_initialize_nothing():
    model, _ = nested_model("float32")
    inputs = normal(8, 4, 4, 2).astype("float32")
    data_dependent_initialization(model, inputs)
    before = model.get_weights()
    model(2 * inputs, training=True)
    for old, new in zip(before, model.get_weights()):
        np.testing.assert_array_equal(new, old)


def test_calls_after_an_error_initialize_nothing():
    class Failing(layers.Layer):
        def call(self, inputs):
            if not isinstance(inputs, keras.KerasTensor) and getattr(self, "armed", False):
                raise RuntimeError("in the middle")
            return inputs

    failing = Failing()
    last = WeightNorm(layers.Dense(2))
    model = keras.Sequential([keras.Input((4,)), WeightNorm(layers.Dense(3)), failing, last])
    failing.armed = True
    inputs = normal(5, 4).astype("float32")
    with pytest.raises(RuntimeError, match="in the middle"):
        data_dependent_initialization(model, inputs)
    failing.armed = False
    before = last.get_weights()
    model(inputs, training=True)
    for old, new in zip(before, last.get_weights()):
        np.testing.assert_array_equal(new, old)


class Centred(layers.Layer):
    """A user's own layer, of another interface than this package's."""

    def build(self, input_shape):
        self.mean = self.add_weight(shape=input_shape[-1:], initializer="zeros", trainable=False)

    def call(self, inputs):
        if initializes_now(self):
            self.mean.assign(ops.mean(inputs, axis=0))
        return inputs - self.mean


def test_a_users_own_layer_in_a_nested_model_takes_part():
    inner = keras.Sequential([keras.Input((4,)), Centred()])
    model = keras.Sequential([keras.Input((4,)), inner, WeightNorm(layers.Dense(3))])
    inputs = (5 + normal(50, 4)).astype("float32")
    data_dependent_initialization(inner, inputs)
    np.testing.assert_allclose(ops.convert_to_numpy(inner(inputs)).mean(0), 0, atol=1e-5)
    outputs = ops.convert_to_numpy(data_dependent_initialization(model, 2 * inputs))
    np.testing.assert_allclose(ops.convert_to_numpy(inner(2 * inputs)).mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(outputs.std(0), 1, rtol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.distribute")
def test_in_a_strategys_scope_all_replicas_get_one_devices_values():
    from igan_tf.training.distribution import mirrored_strategy

    inputs = (1 + normal(20, 4)).astype("float32")

    def initialized():
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((4,)), WeightNorm(layers.Dense(3)), MinibatchDiscrimination(2, 2)])
        data_dependent_initialization(model, inputs)
        return model

    single, strategy = initialized(), mirrored_strategy()
    with strategy.scope():
        mirrored = initialized()
    for weight, expected in zip(mirrored.weights, single.get_weights()):
        copies = strategy.experimental_local_results(weight.value)
        assert len(copies) == 2
        for copy in copies:
            np.testing.assert_array_equal(copy.numpy(), expected, err_msg=weight.path)


def test_a_subclassed_model_and_a_layer_alone():
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.blocks = [WeightNorm(layers.Dense(4)), WeightNorm(layers.Dense(3))]

        def call(self, inputs):
            for block in self.blocks:
                inputs = block(inputs)
            return inputs

    inputs = (2 + normal(50, 5)).astype("float32")
    for model in (Subclassed(), WeightNorm(layers.Dense(3))):
        model(inputs)
        outputs = ops.convert_to_numpy(data_dependent_initialization(model, inputs))
        np.testing.assert_allclose(outputs.std(0), 1, rtol=1e-5)


def test_a_model_without_such_layers_is_refused():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)], name="plain")
    with pytest.raises(ValueError, match=r"`model` has no layer with data-dependent init.* Received: .*name=plain"):
        data_dependent_initialization(model, normal(5, 4))
