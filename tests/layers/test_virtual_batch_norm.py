import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from igan_tf.layers.concatenate_noise import ConcatenateNoise
from igan_tf.layers.drop_reference import DropReference
from igan_tf.layers.freeze_reference import freeze_reference, unfreeze_reference
from igan_tf.layers.prepend_reference import PrependReference
from igan_tf.layers.virtual_batch_norm import VirtualBatchNorm
from tests.layers.conformance import ROOT, check_layer
from tests.layers.gradients import float64_enabled, layer_gradients
from tests.parity.virtual_batch_norm import virtual_batch_norm

tensorflow_only = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="tf.function and tf.distribute need the TensorFlow backend"
)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(0.3, 1.5, shape).astype("float32")


def layer_with_weights(shape, **arguments):
    """A built layer whose gamma and beta are far from 1 and 0."""
    layer = VirtualBatchNorm(3, external_reference=True, **arguments)
    layer.build(shape)
    layer.gamma.assign(np.linspace(0.5, 2.0, layer.gamma.shape[0]))
    layer.beta.assign(np.linspace(-1.0, 1.0, layer.beta.shape[0]))
    return layer


def call(layer, inputs, **arguments):
    return ops.convert_to_numpy(layer(ops.convert_to_tensor(inputs), **arguments))


def generator(reference_size=3, noise=True):
    """A small generator with all the layers of the family, one of them in a nested model."""
    block_input = keras.Input((4, 4, 6))
    block = keras.layers.Conv2DTranspose(5, 3, strides=2, padding="same")(block_input)
    block = keras.Model(block_input, VirtualBatchNorm(reference_size)(block), name="block")

    z = keras.Input((7,))
    x = PrependReference(reference_size, seed=1)(z)
    x = keras.layers.Dense(4 * 4 * 4)(x)
    x = keras.layers.ReLU()(VirtualBatchNorm(reference_size)(x))
    x = keras.layers.Reshape((4, 4, 4))(x)
    x = (ConcatenateNoise(2, reference_size, seed=2) if noise else keras.layers.Conv2D(6, 1))(x)
    x = keras.layers.Conv2D(3, 3)(block(x))
    return keras.Model(z, DropReference(reference_size)(x))


def rewind(model):
    """Every layer draws the noise of its first call again."""
    for layer in model._flatten_layers():
        if isinstance(layer, ConcatenateNoise):
            layer.seed_generator.state.assign([2, 0])


def norms(model):
    return [layer for layer in model._flatten_layers() if isinstance(layer, VirtualBatchNorm)]


@pytest.mark.parametrize("shape", [(7, 4), (5, 3, 2, 4)], ids=["rank2", "rank4"])
def test_conformance(shape):
    check_layer(
        lambda: VirtualBatchNorm(3, external_reference=True),
        shape,
        expected_output_shape=shape,
        expected_weights=[
            ("gamma", (4,), True),
            ("beta", (4,), True),
            ("reference_mean", (4,), False),
            ("reference_variance", (4,), False),
        ],
    )


@pytest.mark.parametrize("shape", [(7, 4), (4, 4), (5, 6, 4), (6, 5, 4, 3), (5, 2, 3, 2, 2), (4, 16, 8, 2)])
def test_equals_the_loops(shape):
    inputs = numbers(*shape)
    layer = layer_with_weights(shape)
    gamma, beta = (ops.convert_to_numpy(weight) for weight in (layer.gamma, layer.beta))
    # float32 sums of at most 128 terms; outputs up to about 6.
    expected = virtual_batch_norm(inputs, 3, gamma, beta)
    np.testing.assert_allclose(call(layer, inputs), expected, rtol=1e-5, atol=2e-5)
    np.testing.assert_array_equal(call(layer, inputs, training=True), call(layer, inputs, training=False))


def test_channels_first_equals_channels_last():
    inputs = numbers(5, 3, 4, 2)
    last = call(layer_with_weights((5, 3, 4, 2)), inputs)
    first = call(layer_with_weights((5, 2, 3, 4), axis=1), inputs.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(first.transpose(0, 2, 3, 1), last, rtol=1e-5, atol=1e-6)


def test_without_center_and_scale():
    inputs = numbers(6, 4, 3)
    layer = VirtualBatchNorm(3, center=False, scale=False, epsilon=0.1, external_reference=True)
    expected = virtual_batch_norm(inputs, 3, np.ones(3), np.zeros(3), epsilon=0.1)
    np.testing.assert_allclose(call(layer, inputs), expected, rtol=1e-5, atol=1e-5)
    assert [weight.name for weight in layer.weights] == ["reference_mean", "reference_variance"]


def test_initial_gamma_is_near_one():
    layer = VirtualBatchNorm(1)
    layer.build((None, 10000))
    gamma = ops.convert_to_numpy(layer.gamma)
    assert abs(gamma.mean() - 1.0) < 0.002
    assert abs(gamma.std() - 0.02) < 0.002


def test_example_ignores_its_neighbours():
    layer = layer_with_weights((8, 4, 4, 3))
    inputs, others = numbers(8, 4, 4, 3), 10.0 * numbers(8, 4, 4, 3, seed=1)
    outputs = call(layer, inputs)
    for row in range(3, 8):
        changed = others.copy()
        changed[:3], changed[row] = inputs[:3], inputs[row]
        # The same computation on the same numbers at the same place: the same bits.
        np.testing.assert_array_equal(call(layer, changed)[row], outputs[row])
        # Alone in its batch: a kernel may add in another order.
        alone = call(layer, np.concatenate([inputs[:3], inputs[row : row + 1]]))
        np.testing.assert_allclose(alone[3], outputs[row], rtol=1e-6, atol=1e-6)
    # Nor does the reference depend on any example; but every example depends on the reference.
    np.testing.assert_array_equal(call(layer, np.concatenate([inputs[:3], others[3:]]))[:3], outputs[:3])
    moved = inputs.copy()
    moved[0] += 1.0
    assert np.all(np.abs(call(layer, moved)[3:] - outputs[3:]).max(axis=(1, 2, 3)) > 1e-2)


@pytest.mark.parametrize("shape", [(6, 3), (5, 2, 2, 3)], ids=["rank2", "rank4"])
def test_gradients_equal_finite_differences(shape):
    with float64_enabled():
        layer = layer_with_weights(shape, dtype="float64")
        inputs = numbers(*shape).astype("float64")
        cotangent = np.random.default_rng(1).normal(size=shape)
        # Only examples count: what reaches the reference rows came through the statistics.
        cotangent[:3] = 0.0
        to_inputs, (to_gamma, to_beta) = layer_gradients(layer, inputs, cotangent)

        def objective(inputs):
            gamma, beta = (ops.convert_to_numpy(weight) for weight in (layer.gamma, layer.beta))
            return np.sum(cotangent * virtual_batch_norm(inputs, 3, gamma, beta))

        def slope(change, step=1e-5):
            return (change(step) - change(-step)) / (2 * step)

        expected = np.empty(shape)
        for index in np.ndindex(shape):
            one = np.zeros(shape)
            one[index] = 1.0
            expected[index] = slope(lambda step, one=one: objective(inputs + step * one))
        np.testing.assert_allclose(to_inputs, expected, rtol=1e-6, atol=1e-8)
        assert np.all(to_inputs[:3] != 0)

        for weight, gradient in ((layer.gamma, to_gamma), (layer.beta, to_beta)):
            value = ops.convert_to_numpy(weight).copy()
            for channel in range(3):
                one = np.eye(3)[channel]

                def change(step, weight=weight, value=value, one=one):
                    weight.assign(value + step * one)
                    return objective(inputs)

                np.testing.assert_allclose(gradient[channel], slope(change), rtol=1e-6, atol=1e-8)
            weight.assign(value)


def test_gradients_reach_the_layers_before_through_the_reference():
    z = keras.Input((2,))
    dense = keras.layers.Dense(3, kernel_initializer=keras.initializers.GlorotUniform(seed=0))
    x = DropReference(4)(VirtualBatchNorm(4)(dense(PrependReference(4, seed=0)(z))))
    model = keras.Model(z, x)
    # The examples are zero: without the reference's part the kernel's gradient would be zero.
    index = [variable is dense.kernel for variable in model.trainable_variables].index(True)
    gradient = layer_gradients(model, np.zeros((2, 2), "float32"), numbers(2, 3))[1][index]
    assert np.all(np.abs(gradient).max(axis=0) > 1e-3)


def test_large_offset_does_not_cancel():
    # E[x^2] - E[x]^2 in float32 would be off by 0.06 here, where the variance is 1e-2.
    inputs = (1000.0 + 0.1 * np.random.default_rng(0).normal(size=(40, 3))).astype("float32")
    layer = VirtualBatchNorm(30, scale=False, external_reference=True)
    expected = virtual_batch_norm(inputs, 30, np.ones(3), np.zeros(3))
    np.testing.assert_allclose(call(layer, inputs), expected, atol=2e-2)


def test_constant_inputs_stay_finite():
    # Every row is constant in itself; PyTorch's E[x^2] - E[x]^2 then is negative for about half of them.
    rows = np.random.default_rng(0).uniform(1.0, 3000.0, size=50)
    for row in rows:
        inputs = np.full((5, 7, 7, 2), row, "float32")
        outputs = call(VirtualBatchNorm(2, external_reference=True), inputs)
        assert np.all(np.isfinite(outputs))


def test_statistics_are_float32_under_mixed_precision():
    # Their squares overflow float16.
    inputs = (300.0 * numbers(6, 4, 4, 3)).astype("float16")
    layer = VirtualBatchNorm(3, dtype="mixed_float16", scale=False, external_reference=True)
    outputs = layer(ops.convert_to_tensor(inputs))
    assert keras.backend.standardize_dtype(outputs.dtype) == "float16"
    expected = virtual_batch_norm(inputs, 3, np.ones(3), np.zeros(3))
    np.testing.assert_allclose(ops.convert_to_numpy(outputs), expected, rtol=2e-3, atol=2e-3)


def test_usage_in_a_model_and_reload_keep_the_reference(tmp_path):
    model, z = generator(noise=False), numbers(5, 7)
    outputs = call(model, z)
    assert outputs.shape == (5, 6, 6, 3)
    # An example's output is the same in another batch, up to the order of sums in the products.
    np.testing.assert_allclose(call(model, z[2:3])[0], outputs[2], rtol=1e-5, atol=1e-5)
    model.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(call(reloaded, z), outputs)
    model.save_weights(tmp_path / "model.weights.h5")
    other = generator(noise=False)
    other.layers[1].set_reference(numbers(3, 7, seed=9))
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(call(other, z), outputs)


def test_freeze_gives_the_same_output_without_reference_rows(tmp_path):
    model, z = generator(), numbers(5, 7)
    trained = [weight.shape for weight in model.weights]
    before = call(model, z)
    rewind(model)
    predicted = model.predict(z, verbose=0)
    np.testing.assert_allclose(predicted, before, atol=1e-5)
    rewind(model)

    assert freeze_reference(model) is model
    assert [weight.shape for weight in model.weights] == trained
    seen = []
    model.get_layer("block").layers[1].call = lambda x: seen.append(x.shape) or ops.zeros((x.shape[0], 8, 8, 5))
    call(model, z)
    assert seen == [(5, 4, 4, 6)]
    del model.get_layer("block").layers[1].call
    rewind(model)

    model.save(tmp_path / "frozen.keras")
    np.testing.assert_allclose(call(model, z), before, atol=1e-5)
    rewind(model)
    # predict was traced before, with reference rows; it must not go on with them.
    frozen_prediction = model.predict(z, verbose=0)
    np.testing.assert_allclose(frozen_prediction, before, atol=1e-5)
    rewind(model)
    model.layers[1].reference.assign(np.zeros((3, 7)))
    np.testing.assert_array_equal(model.predict(z, verbose=0), frozen_prediction)

    reloaded = keras.saving.load_model(tmp_path / "frozen.keras")
    assert all(layer.frozen for layer in norms(reloaded))
    np.testing.assert_allclose(call(reloaded, z), before, atol=1e-5)
    unfreeze_reference(reloaded)
    rewind(reloaded)
    np.testing.assert_allclose(call(reloaded, z), before, atol=1e-6)


def test_frozen_model_reloads_in_a_fresh_process(tmp_path):
    model, z = freeze_reference(generator()), numbers(5, 7)
    rewind(model)
    model.save(tmp_path / "frozen.keras")
    np.save(tmp_path / "z.npy", z)
    expected = call(model, z)
    # Under another backend the layers must do without TensorFlow.
    program = (
        "import sys\n"
        f"if {keras.backend.backend()!r} != 'tensorflow': sys.modules['tensorflow'] = None\n"
        "import keras, numpy as np\n"
        "import igan_tf.layers.freeze_reference, igan_tf.layers.concatenate_noise, igan_tf.layers.drop_reference\n"
        "model = keras.saving.load_model('frozen.keras')\n"
        "np.save('y.npy', keras.ops.convert_to_numpy(model(np.load('z.npy'))))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "KERAS_BACKEND": keras.backend.backend()}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)


def test_freeze_leaves_the_noise_sequence_alone():
    model = generator()
    state = next(layer for layer in model.layers if isinstance(layer, ConcatenateNoise)).seed_generator.state
    call(model, numbers(2, 7))
    before = ops.convert_to_numpy(state).copy()
    freeze_reference(model)
    np.testing.assert_array_equal(ops.convert_to_numpy(state), before)


def test_unfrozen_model_uses_no_stale_statistics():
    model, untouched, z = generator(noise=False), generator(noise=False), numbers(5, 7)
    untouched.set_weights(model.get_weights())
    unfreeze_reference(freeze_reference(model))
    for layer in norms(model):
        assert np.all(ops.convert_to_numpy(layer.reference_variance) < 0)
    # "Training": the same change to both.
    for each in (model, untouched):
        each.layers[2].kernel.assign(ops.convert_to_numpy(each.layers[2].kernel) * 1.7 + 0.1)
    np.testing.assert_array_equal(call(model, z), call(untouched, z))
    # Freezing again, frozen or not, takes the statistics of now.
    expected = call(untouched, z)
    np.testing.assert_allclose(call(freeze_reference(model), z), expected, atol=1e-5)
    model.layers[2].kernel.assign(ops.convert_to_numpy(model.layers[2].kernel) * 0.6)
    untouched.layers[2].kernel.assign(ops.convert_to_numpy(untouched.layers[2].kernel) * 0.6)
    np.testing.assert_allclose(call(freeze_reference(model), z), call(untouched, z), atol=1e-5)


def test_frozen_model_refuses_training():
    model, z = generator(noise=False), numbers(5, 7)
    model.compile("sgd", "mse")
    target = np.zeros((5, 6, 6, 3), "float32")
    model.fit(z, target, verbose=0)
    before = model.evaluate(z, target, verbose=0)
    freeze_reference(model)
    message = r"is frozen and cannot be called with training=True.*unfreeze_reference"
    with pytest.raises(ValueError, match=message):
        model(z, training=True)
    assert model.evaluate(z, target, verbose=0) == pytest.approx(before, rel=1e-5)
    # `evaluate` was traced before, with reference rows; it must not go on with them.
    reference = ops.convert_to_numpy(model.layers[1].reference)
    model.layers[1].reference.assign(np.zeros((3, 7)))
    assert model.evaluate(z, target, verbose=0) == pytest.approx(before, rel=1e-5)
    model.layers[1].reference.assign(reference)
    unfreeze_reference(model)
    model.fit(z, target, verbose=0)
    freeze_reference(model)
    # Last: on JAX, Keras takes the weights out of the model for `fit`, and an error loses them.
    with pytest.raises(ValueError, match=message):
        model.fit(z, target, verbose=0)


def test_weights_of_frozen_and_unfrozen_models_exchange(tmp_path):
    frozen, model, z = freeze_reference(generator(noise=False)), generator(noise=False), numbers(5, 7)
    frozen.save_weights(tmp_path / "frozen.weights.h5")
    model.save_weights(tmp_path / "model.weights.h5")
    expected = call(model, z)
    model.load_weights(tmp_path / "frozen.weights.h5")
    np.testing.assert_allclose(call(model, z), call(frozen, z), atol=1e-5)
    assert all(np.all(ops.convert_to_numpy(layer.reference_variance) < 0) for layer in norms(model))
    with pytest.raises(ValueError, match="hold no reference statistics"):
        frozen.load_weights(tmp_path / "model.weights.h5")
    unfreeze_reference(frozen).load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(call(frozen, z), expected)


def test_frozen_without_statistics_is_not_a_number():
    clone = keras.models.clone_model(freeze_reference(generator(noise=False)))
    assert np.all(np.isnan(call(clone, numbers(2, 7))))
    # However large the example's own part of the variance is.
    assert np.all(np.isnan(call(VirtualBatchNorm(3, frozen=True), 1000.0 * numbers(5, 4, 4, 2))))


def test_freeze_subclassed_model():
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.stack = [PrependReference(2, seed=0), keras.layers.Dense(3), VirtualBatchNorm(2), DropReference(2)]

        def call(self, inputs):
            for layer in self.stack:
                inputs = layer(inputs)
            return inputs

    model, z = Subclassed(), numbers(4, 5)
    expected = call(model, z)
    with pytest.raises(ValueError, match=r"needs `inputs`.*Received: inputs=None"):
        freeze_reference(model)
    assert not model.stack[2].frozen
    freeze_reference(model, z[:1])
    np.testing.assert_allclose(call(model, z), expected, atol=1e-5)


def test_freeze_model_with_named_inputs():
    inputs = {"z": keras.Input((4,)), "label": keras.Input((2,))}
    z = PrependReference(2, seed=0)(inputs["z"])
    label = PrependReference(2, seed=1)(inputs["label"])
    x = VirtualBatchNorm(2)(keras.layers.Dense(3)(keras.layers.Concatenate()([z, label])))
    model = keras.Model(inputs, DropReference(2)(x))
    batch = {"z": numbers(3, 4), "label": numbers(3, 2)}
    expected = ops.convert_to_numpy(model(batch))
    np.testing.assert_allclose(ops.convert_to_numpy(freeze_reference(model)(batch)), expected, atol=1e-5)


@pytest.mark.parametrize("reference_size", [0, -1, 2.0, True, "3"])
def test_wrong_reference_size(reference_size):
    with pytest.raises(ValueError, match=rf"at least 1\. Received: reference_size={reference_size!r}"):
        VirtualBatchNorm(reference_size)


def test_wrong_epsilon():
    with pytest.raises(ValueError, match=r"`epsilon` above 0. Received: epsilon=0"):
        VirtualBatchNorm(2, epsilon=0)


def test_wrong_rank_and_axis():
    with pytest.raises(ValueError, match=r"rank 2 or more. Received: input shape \(8,\)"):
        VirtualBatchNorm(2)(np.zeros(8, "float32"))
    for axis in (0, -2, 2, -3):
        with pytest.raises(ValueError, match=rf"`axis`.*Received: axis={axis} for input shape \(8, 3\)"):
            VirtualBatchNorm(2, axis=axis, external_reference=True)(np.zeros((8, 3), "float32"))
    with pytest.raises(ValueError, match=r"known number of channels. Received: input shape \(4, None\)"):
        VirtualBatchNorm(2).build((4, None))


def test_batch_no_larger_than_the_reference():
    message = r"larger than its reference_size=3 reference rows.*Received: input shape \(3, 4\)"
    for layer in (VirtualBatchNorm(3, external_reference=True), DropReference(3)):
        with pytest.raises(ValueError, match=message):
            layer(np.zeros((3, 4), "float32"))
        with pytest.raises(ValueError, match=message):
            layer(keras.Input(batch_shape=(3, 4)))


def test_other_reference_size_than_upstream():
    message = r"must have the `reference_size` of the layer 'prepend.*, 4. Received: reference_size=3"
    x = keras.layers.Dense(5)(PrependReference(4)(keras.Input((2,))))
    for layer in (VirtualBatchNorm(3), DropReference(3), ConcatenateNoise(2, 3)):
        with pytest.raises(ValueError, match=message):
            layer(x)
    with pytest.raises(ValueError, match=r"must have the `reference_size`.*Received: reference_size=0"):
        ConcatenateNoise(2)(x)
    # After the end of the reference rows anything goes: another reference, or none.
    y = DropReference(4)(x)
    VirtualBatchNorm(3)(PrependReference(3)(y))
    ConcatenateNoise(2)(y)


def in_turn(*stack):
    """A subclassed model, which knows nothing of its layers' order."""

    class InTurn(keras.Model):
        def __init__(self):
            super().__init__()
            self.stack = list(stack)

        def call(self, inputs):
            for layer in self.stack:
                inputs = layer(inputs)
            return inputs

    return InTurn()


def nested(layer):
    """A functional model that has the layer in one of its own, made before it."""
    inner, outer = keras.Input((4,)), keras.Input((7,))
    return keras.Model(outer, keras.Model(inner, layer(inner))(keras.layers.Dense(4)(outer)))


@pytest.mark.parametrize(
    "build_model",
    [
        lambda: VirtualBatchNorm(3),
        lambda: nested(VirtualBatchNorm(3)),
        lambda: keras.Sequential([keras.Input((7,)), VirtualBatchNorm(3)]),
        lambda: keras.Sequential([VirtualBatchNorm(3)]),
        lambda: in_turn(keras.layers.Dense(4), VirtualBatchNorm(3)),
    ],
    ids=["layer", "functional", "sequential", "sequential, unbuilt", "subclassed"],
)
def test_without_a_reference_it_takes_no_examples_for_one(build_model):
    model, message = build_model(), r"has no reference batch: no PrependReference comes before it in '.*Received: input"
    with pytest.raises(ValueError, match=message):
        model(numbers(5, 7))
    # On JAX, Keras passes by the outermost model's `__call__` there, and nothing can be known.
    if isinstance(model, keras.Model) and keras.backend.backend() != "jax":
        with pytest.raises(ValueError, match=message):
            model.predict(numbers(5, 7), verbose=0)


@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="JAX cannot infer the shape of a subclassed model that joins cut rows"
)
def test_a_reference_is_found_wherever_the_layer_stands():
    """In a nested model of either kind, built symbolically or from its first batch, in a clone and a graph."""

    def around(part):
        z = keras.Input((7,))
        return keras.Model(z, DropReference(3)(part(PrependReference(3, seed=0)(z))))

    z = numbers(5, 7)
    parts = [
        in_turn(keras.layers.Dense(4), VirtualBatchNorm(3)),
        keras.Sequential([keras.Input((7,)), keras.layers.Dense(4), VirtualBatchNorm(3)]),
        nested(VirtualBatchNorm(3)),
    ]
    models = [around(part) for part in parts]
    models.append(in_turn(PrependReference(3), in_turn(VirtualBatchNorm(3)), DropReference(3)))
    models.append(keras.Sequential([PrependReference(3), nested(VirtualBatchNorm(3)), DropReference(3)]))
    models[-2].build((None, 7))
    models.append(keras.models.clone_model(models[2]))
    for model in models:
        outputs = call(model, z)
        assert outputs.shape[0] == 5 and model(keras.Input((7,))).shape[0] is None
    np.testing.assert_allclose(models[0].predict(z, verbose=0), call(models[0], z), rtol=1e-5, atol=1e-5)


def test_rows_from_elsewhere_are_taken_when_said_so():
    inputs, z = numbers(5, 7), keras.Input((7,))
    layer = VirtualBatchNorm(3, external_reference=True)
    model = keras.Model(z, VirtualBatchNorm(3)(PrependReference(3)(DropReference(3)(layer(z)))))
    assert call(model, inputs).shape == (5, 7)
    assert VirtualBatchNorm.from_config(layer.get_config()).external_reference
    # A configuration from before there was the argument.
    config = layer.get_config()
    del config["external_reference"]
    assert not VirtualBatchNorm.from_config(config).external_reference


def test_other_reference_size_than_in_the_outer_model():
    with pytest.raises(ValueError, match=r"the PrependReference before it, 4\. Received: reference_size=3"):
        in_turn(PrependReference(4), VirtualBatchNorm(3), DropReference(4))(numbers(5, 7))


def test_after_the_end_of_the_reference():
    z = keras.Input((7,))
    with pytest.raises(ValueError, match=r"must stand before 'end', which removes the reference rows"):
        VirtualBatchNorm(3)(DropReference(3, name="end")(PrependReference(3)(z)))


def test_freezing_renews_what_an_outer_model_has_traced():
    """Without it the outer model would go on training while the inner one samples with what it had stored."""
    inner = keras.Sequential([keras.Input((7,)), PrependReference(3), keras.layers.Dense(4), VirtualBatchNorm(3)])
    inner.add(DropReference(3))
    latents, z, target = keras.Input((7,)), numbers(5, 7), np.zeros((5, 4), "float32")
    outer = keras.Model(latents, inner(latents))
    outer.compile(keras.optimizers.SGD(1.0), "mse")

    def freeze_and_unfreeze(*_):
        freeze_reference(inner)
        unfreeze_reference(inner)

    # In the midst of `fit`, too.
    callback = keras.callbacks.LambdaCallback(on_epoch_end=freeze_and_unfreeze)
    outer.fit(z, target, epochs=2, verbose=0, callbacks=[callback] if keras.backend.backend() != "jax" else [])
    predicted = outer.predict(z, verbose=0)
    freeze_reference(inner)
    inner.layers[0].reference.assign(np.zeros((3, 7)))
    np.testing.assert_allclose(outer.predict(z, verbose=0), predicted, atol=1e-5)
    with pytest.raises(ValueError, match="is frozen and cannot be called with training=True"):
        outer.fit(z, target, verbose=0)


def test_freeze_names_differing_sizes_and_missing_layers():
    with pytest.raises(ValueError, match=r"Only a model with a VirtualBatchNorm.*Received: model='plain'"):
        freeze_reference(keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)], name="plain"))
    with pytest.raises(ValueError, match=r"Only a model with a VirtualBatchNorm.*Received: model='plain'"):
        unfreeze_reference(keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)], name="plain"))
    block = keras.Sequential([keras.Input((2,)), VirtualBatchNorm(3, name="norm")])
    z = keras.Input((2,))
    model = keras.Model(z, DropReference(4)(block(PrependReference(4)(z))), name="mixed")
    with pytest.raises(ValueError, match=r"PrependReference layer, 4. Received: model='mixed'.*'norm': 3"):
        freeze_reference(model)


def test_freeze_refuses_a_shared_layer():
    z, norm = keras.Input((2,)), VirtualBatchNorm(2, name="shared")
    model = keras.Model(z, DropReference(2)(norm(norm(PrependReference(2)(z)))))
    with pytest.raises(ValueError, match=r"called once.*layer 'shared', called 2 times"):
        freeze_reference(model)
    assert not norm.frozen
    assert call(model, numbers(2, 2)).shape == (2, 2)


@tensorflow_only
@pytest.mark.parametrize("jit_compile, noise", [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize("frozen", [False, True])
def test_open_batch_in_tf_function(jit_compile, noise, frozen):
    import tensorflow as tf

    model = generator(noise=noise)
    if frozen:
        freeze_reference(model)
    signature = [tf.TensorSpec((None, 7), tf.float32)]
    function = tf.function(lambda z: model(z), jit_compile=jit_compile, input_signature=signature)
    for examples in (1, 4):
        z = numbers(examples, 7)
        rewind(model)
        expected = call(model, z)
        rewind(model)
        outputs = function(tf.constant(z))
        assert outputs.shape == expected.shape and np.all(np.isfinite(outputs))
        if not (jit_compile and noise):  # XLA's random numbers are others, for the same seed
            np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)


@tensorflow_only
def test_two_replicas_share_the_reference_and_not_the_noise():
    import tensorflow as tf

    from igan_tf.training.distribution import mirrored_strategy

    strategy = mirrored_strategy()
    z, single = numbers(3, 7), generator(noise=False)
    with strategy.scope():
        model, noisy = generator(noise=False), generator()
    model.set_weights(single.get_weights())

    def outputs(model):
        values = strategy.run(tf.function(lambda: model(tf.constant(z))))
        return [value.numpy() for value in strategy.experimental_local_results(values)]

    for expected in outputs(model):
        np.testing.assert_allclose(expected, call(single, z), rtol=1e-5, atol=1e-5)
    first, second = outputs(noisy)
    assert np.abs(first - second).max() > 1e-3
    with strategy.scope():
        freeze_reference(model)
    for expected in outputs(model):
        np.testing.assert_allclose(expected, call(single, z), rtol=1e-5, atol=1e-5)
    for replicas in (strategy.experimental_local_results(layer.reference_mean.value) for layer in norms(model)):
        np.testing.assert_array_equal(replicas[0].numpy(), replicas[1].numpy())
    freeze_reference(noisy)
    assert all(np.all(np.isfinite(output)) for output in outputs(noisy))
