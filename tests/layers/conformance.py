"""The checks that every layer of `igan_tf.layers` passes, on every backend: `check_layer`."""

import functools
import inspect
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
from keras import ops

from tests.layers.gradients import float64_enabled, layer_gradients

ROOT = Path(__file__).resolve().parents[2]

# Run in a process of its own, one for all layers, which knows them by `import igan_tf.layers` alone: no custom_objects.
# It reads folders from stdin and answers each with a line, empty or an error's last words.
RELOAD = """
import json, sys, traceback
import keras
import numpy as np
import igan_tf.layers

class Subclassed(keras.Model):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, inputs):
        return self.layer(inputs)

def reload(folder):
    inputs = np.load(folder + "/inputs.npy")

    def save(name, outputs):
        np.save(folder + "/" + name + ".reloaded.npy", keras.ops.convert_to_numpy(outputs))

    for kind in ("functional", "sequential"):
        save(kind + ".keras", keras.saving.load_model(folder + "/" + kind + ".keras")(inputs))
        with open(folder + "/" + kind + ".json") as file:
            model = keras.models.model_from_json(file.read())
        model.load_weights(folder + "/" + kind + ".weights.h5")
        save(kind + ".weights.h5", model(inputs))
    with open(folder + "/layer.json") as file:
        model = Subclassed(keras.saving.deserialize_keras_object(json.load(file)))
    model.build(inputs.shape)
    model.load_weights(folder + "/subclassed.weights.h5")
    save("subclassed.weights.h5", model(inputs))

for line in sys.stdin:
    try:
        reload(line.strip())
        print("reloaded:", flush=True)
    except Exception:
        print("reloaded:", repr(traceback.format_exc()[-3000:]), flush=True)
"""


@functools.cache
def reloader():
    """The process that reloads what this one saves."""
    return subprocess.Popen(
        [sys.executable, "-c", RELOAD],
        env=os.environ | {"PYTHONPATH": str(ROOT), "KERAS_BACKEND": keras.backend.backend()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


class Subclassed(keras.Model):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, inputs):
        return self.layer(inputs)


def check_layer(
    build_layer, input_shape, *, expected_output_shape, expected_weights, training_matters=False, rtol=1e-5
):
    """Puts a layer through everything that Keras, and this project, may do with it.

    Args:
        build_layer: callable without arguments; every call gives a new layer.
        input_shape: shape of the input used, batch included.
        expected_output_shape: shape of the output for it, batch included.
        expected_weights: list of `(name, shape, trainable)`, in the order of `layer.weights`.
        training_matters: whether `training=True` changes the output.
        rtol: relative and absolute tolerance between eager, graph, compiled and distributed outputs.
    """
    inputs = np.random.default_rng(0).normal(size=input_shape).astype("float32")
    arguments = (build_layer, inputs)
    check_weights(*arguments, expected_weights)
    check_shapes(*arguments, tuple(expected_output_shape))
    check_config(*arguments)
    check_training_argument(*arguments, training_matters)
    check_gradients(*arguments)
    check_dtype_policies(*arguments)
    check_predict_and_reload(*arguments)
    if keras.backend.backend() == "tensorflow":
        check_functions(*arguments, rtol)
        check_two_replicas(*arguments, rtol)


def built_layer(build_layer, inputs):
    """A built layer whose weights have left their initial values, so that a lost weight shows in the output."""
    layer = build_layer()
    layer.build(inputs.shape)
    generator = np.random.default_rng(1)
    for weight in layer.weights:
        if "float" not in weight.dtype:
            continue
        value = ops.convert_to_numpy(weight.value)
        # A non-trainable weight may be a variance or a count: scaling keeps its sign.
        changed = value + 0.1 * generator.normal(size=value.shape) if weight.trainable else 1.25 * value
        weight.assign(changed.astype(value.dtype))
    return layer


def call(layer, inputs, training=False):
    takes_training = "training" in inspect.signature(layer.call).parameters
    outputs = layer(ops.convert_to_tensor(inputs), **({"training": training} if takes_training else {}))
    return ops.convert_to_numpy(outputs)


def check_weights(build_layer, inputs, expected_weights):
    layer = build_layer()
    layer.build(inputs.shape)
    found = [(weight.name, tuple(weight.shape), weight.trainable) for weight in layer.weights]
    expected = [(name, tuple(shape), trainable) for name, shape, trainable in expected_weights]
    assert found == expected, f"weights: {found}, expected {expected}"
    called = build_layer()
    call(called, inputs)
    found = [(weight.name, tuple(weight.shape), weight.trainable) for weight in called.weights]
    assert found == expected, f"weights after a call without build: {found}, expected {expected}"


def check_shapes(build_layer, inputs, expected):
    layer = built_layer(build_layer, inputs)
    assert call(layer, inputs).shape == expected
    assert tuple(layer.compute_output_shape(inputs.shape)) == expected
    open_batch = (None, *inputs.shape[1:])
    assert tuple(build_layer().compute_output_shape(open_batch)) == (None, *expected[1:])
    assert tuple(build_layer()(keras.Input(inputs.shape[1:])).shape) == (None, *expected[1:])
    assert tuple(build_layer()(keras.Input(batch_shape=inputs.shape)).shape) == expected


def check_config(build_layer, inputs):
    layer = built_layer(build_layer, inputs)
    config = layer.get_config()
    # As JSON, for which a wrapped layer's build shape is a list, be it a tuple or not.
    copy = type(layer).from_config(json.loads(json.dumps(config)))
    assert json.dumps(copy.get_config()) == json.dumps(config)
    assert keras.saving.get_registered_name(type(layer)) == f"igan_tf>{type(layer).__name__}"
    # The constructor's arguments are all there, so that no setting is lost in silence.
    for name, parameter in inspect.signature(type(layer).__init__).parameters.items():
        if name != "self" and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            assert name in config, f"get_config lacks {name!r}"
            other = other_value(name, config[name])
            if other is not None:
                found = type(layer).from_config({**config, name: other}).get_config()
                assert found[name] == other, f"get_config has another {name!r} than was passed"
    copy.build(inputs.shape)
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(call(copy, inputs), call(layer, inputs))


def other_value(name, value):
    """Another value of a constructor's argument, as it stands in a config; None where there is none to be had."""
    if name.endswith("_initializer"):
        return keras.initializers.serialize(keras.initializers.Constant(0.5))
    if name == "seed":
        return 7
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        # Not below `minval`.
        return value + 1 if name == "maxval" else value / 2
    if isinstance(value, int):
        return value - 1 if value > 1 else abs(value) + 1
    return value[:1] if isinstance(value, list) else None


def check_training_argument(build_layer, inputs, training_matters):
    layer = built_layer(build_layer, inputs)
    equal = np.array_equal(call(layer, inputs, training=True), call(layer, inputs, training=False))
    assert equal != training_matters, f"training=True and False give {'equal' if equal else 'different'} outputs"


def check_gradients(build_layer, inputs):
    layer = built_layer(build_layer, inputs)
    outputs = call(layer, inputs)
    cotangent = np.random.default_rng(2).normal(size=outputs.shape).astype("float32")
    to_inputs, to_weights = layer_gradients(layer, inputs, cotangent)
    names = [variable.name for variable in layer.trainable_variables]
    for name, gradient in [("inputs", to_inputs), *zip(names, to_weights)]:
        assert gradient is not None, f"no gradient to {name}"
        assert np.all(np.isfinite(gradient)), f"gradient to {name} is not finite"
        assert np.any(gradient != 0), f"gradient to {name} is zero everywhere"


def check_dtype_policies(build_layer, inputs):
    before = keras.config.dtype_policy()
    for policy, output_dtype, weight_dtype in (
        ("mixed_bfloat16", "bfloat16", "float32"),
        ("mixed_float16", "float16", "float32"),
        ("float64", "float64", "float64"),
    ):
        try:
            keras.config.set_dtype_policy(policy)
            with float64_enabled():
                layer = built_layer(build_layer, inputs)
                outputs = layer(ops.convert_to_tensor(inputs.astype("float64") if policy == "float64" else inputs))
                assert keras.backend.standardize_dtype(outputs.dtype) == output_dtype, policy
                assert np.all(np.isfinite(ops.convert_to_numpy(ops.cast(outputs, "float64")))), policy
                for weight in layer.weights:
                    assert weight.dtype == weight_dtype or "float" not in weight.dtype, f"{policy}: {weight.path}"
                cotangent = np.ones(outputs.shape, dtype=weight_dtype)
                to_inputs, to_weights = layer_gradients(layer, inputs.astype(weight_dtype), cotangent)
                for gradient in (to_inputs, *to_weights):
                    assert gradient is not None and np.all(np.isfinite(gradient.astype("float64"))), policy
                    assert policy != "float64" or gradient.dtype == np.float64, policy
        finally:
            keras.config.set_dtype_policy(before)


def check_predict_and_reload(build_layer, inputs):
    """`predict` leaves the weights bit-equal; every way of saving gives the same bits in a fresh process."""
    functional_input = keras.Input(inputs.shape[1:])
    layers = {kind: built_layer(build_layer, inputs) for kind in ("functional", "sequential", "subclassed")}
    models = {
        "functional": keras.Model(functional_input, layers["functional"](functional_input)),
        "sequential": keras.Sequential([keras.Input(inputs.shape[1:]), layers["sequential"]]),
        "subclassed": Subclassed(layers["subclassed"]),
    }
    models["subclassed"].build(inputs.shape)
    expected = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        np.save(path / "inputs.npy", inputs)
        (path / "layer.json").write_text(json.dumps(keras.saving.serialize_keras_object(layers["subclassed"])))
        for kind, model in models.items():
            model.save_weights(path / f"{kind}.weights.h5")
            if kind != "subclassed":
                model.save(path / f"{kind}.keras")
                (path / f"{kind}.json").write_text(model.to_json())
            # The saved state comes before the first call: a layer may hold a seed.
            expected[f"{kind}.weights.h5"] = expected[f"{kind}.keras"] = ops.convert_to_numpy(model(inputs))
        expected.pop("subclassed.keras")

        process = reloader()
        process.stdin.write(f"{folder}\n")
        process.stdin.flush()
        answer = next((line for line in process.stdout if line.startswith("reloaded:")), "the process has ended")
        assert answer.strip() == "reloaded:", answer
        for name, outputs in expected.items():
            reloaded = np.load(path / f"{name}.reloaded.npy")
            np.testing.assert_array_equal(reloaded, outputs, err_msg=f"{name}, reloaded in a fresh process")

    before = [ops.convert_to_numpy(weight.value) for weight in layers["functional"].weights]
    models["functional"].predict(inputs, batch_size=len(inputs), verbose=0)
    for weight, value in zip(layers["functional"].weights, before):
        np.testing.assert_array_equal(ops.convert_to_numpy(weight.value), value, err_msg=f"predict: {weight.path}")


def check_functions(build_layer, inputs, rtol):
    """Eager, `tf.function` and XLA agree in the output and in every gradient."""
    import tensorflow as tf

    layer = built_layer(build_layer, inputs)
    inputs = tf.constant(inputs)
    weights = [variable.value for variable in layer.trainable_variables]

    def outputs_and_gradients(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs)
            cotangent = tf.reshape(tf.cos(tf.range(tf.size(outputs), dtype=outputs.dtype)), tf.shape(outputs))
            objective = tf.reduce_sum(outputs * cotangent)
        return outputs, tape.gradient(objective, [inputs, *weights])

    eager = tf.nest.flatten(outputs_and_gradients(inputs))
    for jit_compile in (False, True):
        compiled = tf.nest.flatten(tf.function(outputs_and_gradients, jit_compile=jit_compile)(inputs))
        for found, expected in zip(compiled, eager):
            assert_close(found, expected, rtol, f"tf.function(jit_compile={jit_compile})")


def check_two_replicas(build_layer, inputs, rtol):
    """Under `MirroredStrategy` each replica gives what the layer gives alone on that replica's batch."""
    import tensorflow as tf

    from igan_tf.training.distribution import mirrored_strategy

    strategy = mirrored_strategy()
    assert strategy.num_replicas_in_sync == 2, "tests/conftest.py sets up two logical CPUs"
    single = built_layer(build_layer, inputs)
    with strategy.scope():
        layer = build_layer()
        layer.build(inputs.shape)
        layer.set_weights(single.get_weights())
    batches = [inputs, 0.5 * inputs]
    values = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(batches[context.replica_id_in_sync_group])
    )

    @tf.function
    def step(values):
        def replica_step(inputs):
            with tf.GradientTape() as tape:
                outputs = layer(inputs)
                objective = tf.reduce_sum(outputs)
            return outputs, tape.gradient(objective, [variable.value for variable in layer.trainable_variables])

        return strategy.run(replica_step, args=(values,))

    outputs, gradients = step(values)
    for replica, found in enumerate(strategy.experimental_local_results(outputs)):
        assert_close(found, call(single, batches[replica]), rtol, f"replica {replica}")
    assert all(gradient is not None for gradient in gradients)


def assert_close(found, expected, rtol, message):
    """Both tolerances are `rtol`; the absolute one is in units of the largest value expected."""
    expected = np.asarray(expected)
    atol = rtol * max(1.0, float(np.max(np.abs(expected), initial=0.0)))
    np.testing.assert_allclose(np.asarray(found), expected, rtol=rtol, atol=atol, err_msg=message)
