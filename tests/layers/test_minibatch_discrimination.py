"""`MinibatchDiscrimination` against its loop-by-loop oracle, and the properties that the paper asks of it.

Tolerances: float64 against the oracle 1e-12, its gradients against central differences 1e-7 (step 1e-6).
"""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from igan_tf.layers import pairwise_distances as forms
from igan_tf.layers.minibatch_discrimination import MinibatchDiscrimination
from igan_tf.layers.pairwise_distances import pairwise_distances
from tests.layers.conformance import call, check_layer
from tests.layers.gradients import float64_enabled, layer_gradients, value_and_gradients
from tests.parity import minibatch_discrimination as oracle

tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow's graphs")
VARIANTS = list(itertools.product((1, 2), ("sum", "mean", "mean_all_pairs"), (True, False), (True, False)))


@pytest.fixture
def float64():
    with float64_enabled():
        yield


def random_layer(num_inputs=5, seed=0, dtype="float64", **settings):
    """A built layer with every weight away from its initial value."""
    layer = MinibatchDiscrimination(**{"num_kernels": 3, "kernel_dim": 2, **settings}, dtype=dtype)
    layer.build((None, num_inputs))
    generator = np.random.default_rng(seed)
    for weight in layer.weights:
        weight.assign(generator.normal(scale=0.5, size=weight.shape).astype(weight.dtype))
    return layer


def oracle_outputs(layer, inputs, **changed):
    weights = {weight.name: ops.convert_to_numpy(weight.value).astype("float64") for weight in layer.weights}
    return oracle.minibatch_discrimination(
        inputs, **{**weights, **changed}, num_groups=layer.num_groups, reduction=layer.reduction
    )


def features_of(layer, inputs):
    """(N, num_groups, B)"""
    outputs = call(layer, inputs)
    return outputs[:, -layer.num_groups * layer.num_kernels :].reshape(len(inputs), layer.num_groups, -1)


def normal(*shape, seed=3):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize(
    ("settings", "input_shape", "expected_output_shape", "expected_weights"),
    [
        (
            {"num_kernels": 4, "kernel_dim": 3},
            (6, 2, 2, 2),
            (6, 12),
            [("theta", (8, 4, 3), True), ("log_weight_scale", (4, 3), True), ("bias", (4,), True)],
        ),
        (
            {
                "num_kernels": 4,
                "kernel_dim": 3,
                "num_groups": 2,
                "weight_norm": False,
                "use_bias": False,
                "reduction": "mean_all_pairs",
                "kernel_initializer": "glorot_uniform",
            },
            (6, 5),
            (6, 13),
            [("theta", (5, 4, 3), True)],
        ),
    ],
    ids=["defaults", "imagenet"],
)
def test_conformance(settings, input_shape, expected_output_shape, expected_weights):
    check_layer(
        lambda: MinibatchDiscrimination(**settings),
        input_shape,
        expected_output_shape=expected_output_shape,
        expected_weights=expected_weights,
    )


def test_initial_weights():
    layers = [MinibatchDiscrimination(), MinibatchDiscrimination()]
    for layer in layers:
        layer.build((None, 20))
        theta, log_weight_scale, bias = layer.get_weights()
        assert theta.shape == (20, 100, 5)
        assert abs(theta.mean()) < 0.005 and abs(theta.std() - 0.05) < 0.005
        assert np.all(log_weight_scale == 0)
        assert np.all(bias == -1)
    assert np.any(layers[0].get_weights()[0] != layers[1].get_weights()[0]), "each layer draws its own theta"


@pytest.mark.parametrize(("num_groups", "reduction", "weight_norm", "use_bias"), VARIANTS)
def test_outputs_equal_the_oracle(float64, num_groups, reduction, weight_norm, use_bias):
    layer = random_layer(num_groups=num_groups, reduction=reduction, weight_norm=weight_norm, use_bias=use_bias)
    inputs = normal(6, 5)
    np.testing.assert_allclose(call(layer, inputs), oracle_outputs(layer, inputs), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("num_rows", [2, 3, 4, 5, 8, 9])
def test_any_number_of_rows(float64, num_rows):
    layer = random_layer()
    inputs = normal(num_rows, 5)
    np.testing.assert_allclose(call(layer, inputs), oracle_outputs(layer, inputs), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("num_groups", "reduction", "own", "other"),
    [
        (1, "sum", 5, None),
        (1, "mean", 1, None),
        (1, "mean_all_pairs", 5 / 30, None),
        (2, "sum", 2, 3),
        (2, "mean", 1, 1),
        (2, "mean_all_pairs", 2 / 15, 3 / 15),
    ],
)
def test_divisors_by_counting_copies(num_groups, reduction, own, other):
    """Six copies of one example: every exponential is 1, so a feature is the number of terms over the divisor."""
    layer = MinibatchDiscrimination(3, 2, num_groups=num_groups, reduction=reduction, use_bias=False)
    features = features_of(layer, np.ones((6, 4), "float32"))
    expected = np.full((6, num_groups, 3), own, "float32")
    if num_groups == 2:
        expected[:3, 1] = expected[3:, 0] = other
    np.testing.assert_allclose(features, expected, rtol=1e-6)


@pytest.mark.parametrize("weight_norm", [True, False])
@pytest.mark.parametrize("reduction", ["sum", "mean", "mean_all_pairs"])
@pytest.mark.parametrize("num_groups", [1, 2])
def test_gradients_equal_finite_differences(float64, num_groups, reduction, weight_norm):
    layer = random_layer(num_groups=num_groups, reduction=reduction, weight_norm=weight_norm)
    inputs = normal(4, 5)
    inputs[3] = inputs[0]
    cotangent = normal(4, 5 + 3 * num_groups, seed=4)
    to_inputs, to_weights = layer_gradients(layer, inputs, cotangent)

    def objective_of(name):
        if name == "inputs":
            return lambda value: np.sum(oracle_outputs(layer, value) * cotangent)
        return lambda value: np.sum(oracle_outputs(layer, inputs, **{name: value}) * cotangent)

    values = {"inputs": inputs, **{w.name: ops.convert_to_numpy(w.value) for w in layer.trainable_weights}}
    for (name, value), gradient in zip(values.items(), [to_inputs, *to_weights]):
        expected = oracle.finite_differences(objective_of(name), value)
        np.testing.assert_allclose(gradient, expected, rtol=1e-7, atol=1e-7, err_msg=name)


# Values of one block of the broadcast form: none, where it loops; all rows in one; two rows in each of several.
FORMS = {"loops": 0, "at once": 10**6, "in blocks": 6 * 3 * 4 * 2}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("num_rows", [1, 2, 5, 6])
def test_distances_and_their_gradient(float64, monkeypatch, num_rows, form):
    """Coinciding rows, and rows that coincide in one dimension, included: sign(0) is 0."""
    monkeypatch.setattr(forms, "has_gpu", lambda: form != "loops")
    monkeypatch.setattr(forms, "BROADCAST_VALUES", FORMS[form])
    projections = normal(num_rows, 3, 4)
    projections[-1] = projections[0]
    projections[num_rows // 2, 1] = projections[0, 1]
    projections[num_rows // 2, :, 2] = projections[0, :, 2]
    cotangent = normal(num_rows, num_rows, 3, seed=5)

    def function(projections):
        return ops.sum(pairwise_distances(projections) * ops.convert_to_tensor(cotangent))

    expected_distances = np.zeros((num_rows, num_rows, 3))
    expected_gradient = np.zeros_like(projections)
    for i, j, b in np.ndindex(*expected_distances.shape):
        expected_distances[i, j, b] = oracle.distance(projections, i, j, b)
        for c in range(4):
            sign = np.sign(projections[i, b, c] - projections[j, b, c])
            expected_gradient[i, b, c] += cotangent[i, j, b] * sign
            expected_gradient[j, b, c] -= cotangent[i, j, b] * sign
    distances = ops.convert_to_numpy(pairwise_distances(ops.convert_to_tensor(projections)))
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-12, atol=1e-12)
    value, (gradient,) = value_and_gradients(function, [projections])
    np.testing.assert_allclose(value, np.sum(expected_distances * cotangent), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-12, atol=1e-12)


def test_copies_of_one_point_give_larger_features():
    """What the technique is for: a generator that collapsed to one point is seen in every example."""
    layer = random_layer(dtype="float32")
    varied = normal(8, 5).astype("float32")
    collapsed = np.repeat(varied[:1], 8, axis=0)
    assert np.all(features_of(layer, collapsed).min(axis=0) > features_of(layer, varied).max(axis=0))
    # One copy of row 0 in place of row 7 raises row 0's features by its exponential, to 1.
    one_copy = np.concatenate([varied[:7], varied[:1]])
    assert np.all(features_of(layer, one_copy)[0] > features_of(layer, varied)[0])


def test_the_other_rows_order_does_not_matter(float64):
    layer = random_layer()
    inputs = normal(7, 5)
    order = [0, 4, 2, 6, 1, 5, 3]
    np.testing.assert_allclose(call(layer, inputs[order]), call(layer, inputs)[order], rtol=1e-12)


def test_the_order_inside_each_half_does_not_matter_but_the_halves_do(float64):
    layer = random_layer(num_groups=2)
    inputs = normal(6, 5)
    order = [0, 2, 1, 4, 5, 3]
    np.testing.assert_allclose(call(layer, inputs[order]), call(layer, inputs)[order], rtol=1e-12)
    swapped = [3, 4, 5, 0, 1, 2]
    expected = features_of(layer, inputs)[swapped][:, ::-1]
    np.testing.assert_allclose(features_of(layer, inputs[swapped]), expected, rtol=1e-12)


def test_features_against_a_half_ignore_the_other_half(float64):
    layer = random_layer(num_groups=2)
    inputs = normal(6, 5)
    changed = np.concatenate([inputs[:3], normal(3, 5, seed=9)])
    before, after = features_of(layer, inputs), features_of(layer, changed)
    np.testing.assert_allclose(after[:3, 0], before[:3, 0], rtol=1e-12)
    assert np.all(after[:3, 1] != before[:3, 1])


@tensorflow_only
def test_tflite_gives_the_same_at_a_fixed_batch_size_and_says_that_it_needs_one():
    import tensorflow as tf

    model = keras.Sequential([keras.Input((5,)), random_layer(dtype="float32", num_groups=2)])
    fixed = keras.Input(batch_shape=(8, 5))
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(fixed, model(fixed)))
    interpreter = tf.lite.Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    inputs = normal(8, 5).astype("float32")
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], inputs)
    interpreter.invoke()
    outputs = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(outputs, ops.convert_to_numpy(model(inputs)), rtol=1e-5, atol=1e-6)
    with pytest.raises(Exception, match="TFLite_needs_a_fixed_batch_size"):
        tf.lite.TFLiteConverter.from_keras_model(model).convert()


def test_predict_sees_the_batch_that_it_is_given():
    """Documented: predictions depend on `batch_size`."""
    model = keras.Sequential([keras.Input((5,)), random_layer(dtype="float32")])
    inputs = normal(6, 5).astype("float32")
    whole = model.predict(inputs, batch_size=6, verbose=0)
    halves = model.predict(inputs, batch_size=3, verbose=0)
    np.testing.assert_allclose(halves[:3], ops.convert_to_numpy(model(inputs[:3])), rtol=1e-5)
    assert np.all(whole[:, 5:] > halves[:, 5:])


@pytest.mark.parametrize("reduction", ["sum", "mean", "mean_all_pairs"])
def test_one_row_gives_the_bias(reduction):
    layer = random_layer(reduction=reduction, dtype="float32")
    features = features_of(layer, normal(1, 5).astype("float32"))
    np.testing.assert_array_equal(features[0, 0], ops.convert_to_numpy(layer.bias.value))


def test_two_rows_in_two_groups_have_no_term_in_their_own_half():
    layer = random_layer(num_groups=2, reduction="mean", dtype="float32")
    features = features_of(layer, normal(2, 5).astype("float32"))
    bias = ops.convert_to_numpy(layer.bias.value)
    np.testing.assert_array_equal(features[0, 0], bias)
    np.testing.assert_array_equal(features[1, 1], bias)
    assert np.all(features[0, 1] > bias)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_computes_in_float32(policy):
    """Rows of size 100 that differ by 1 in one value: distances in half precision would be off by whole units."""
    layer = random_layer(num_inputs=4, dtype="float32", use_bias=False)
    half = MinibatchDiscrimination(3, 2, use_bias=False, dtype=policy)
    half.build((None, 4))
    half.set_weights(layer.get_weights())
    inputs = np.array([[96, 104, 100, 99], [96, 104, 100, 98], [97, 104, 100, 99]], "float32")
    found = ops.convert_to_numpy(ops.cast(half(ops.convert_to_tensor(inputs)), "float32"))
    np.testing.assert_allclose(found, call(layer, inputs), rtol=2**-8)
    # Distances of 4 to 8, which a scale rounded to half precision would shift by more than the outputs' rounding.
    scale = np.array([[0.301, -0.453], [0.777, 0.123], [-0.111, 0.613]], "float32")
    theta = np.zeros((4, 3, 2), "float32")
    theta[0] = 1
    for each in (layer, half):
        each.set_weights([theta, scale])
    inputs = np.array([[3, 0, 0, 0], [0, 0, 0, 0]], "float32")
    found = ops.convert_to_numpy(ops.cast(half(ops.convert_to_tensor(inputs)), "float32"))
    expected = call(layer, inputs)
    assert np.all(expected[:, 4:] < np.exp(-4))
    np.testing.assert_allclose(found, expected, rtol=2**-8 if policy == "mixed_bfloat16" else 2**-10)


def test_data_dependent_initialization_equals_the_oracle(float64):
    for num_groups, reduction, weight_norm, use_bias in VARIANTS:
        layer = random_layer(num_groups=num_groups, reduction=reduction, weight_norm=weight_norm, use_bias=use_bias)
        before = {weight.name: ops.convert_to_numpy(weight.value) for weight in layer.weights}
        inputs = normal(6, 5)
        projections = oracle.project(inputs, before["theta"], before.get("log_weight_scale"))
        scale = oracle.data_dependent_scale(projections)
        features = oracle.closeness_features(projections, num_groups, reduction, divide_by=scale)
        expected = dict(before)
        if weight_norm:
            expected["log_weight_scale"] = before["log_weight_scale"] - np.log(scale)[:, None]
        else:
            expected["theta"] = before["theta"] / scale[:, None]
        if use_bias:
            expected["bias"] = -features.mean(axis=(0, 1))

        outputs = ops.convert_to_numpy(layer.data_dependent_initialize(inputs))
        for weight in layer.weights:
            value = ops.convert_to_numpy(weight.value)
            np.testing.assert_allclose(value, expected[weight.name], rtol=1e-10, atol=1e-12, err_msg=weight.name)
        np.testing.assert_allclose(outputs, oracle_outputs(layer, inputs), rtol=1e-10, atol=1e-12)
        if use_bias:
            np.testing.assert_allclose(features_of(layer, inputs).mean(axis=(0, 1)), 0, atol=1e-12)


def test_data_dependent_initialization_builds_the_layer():
    layer = MinibatchDiscrimination(3, 2)
    inputs = normal(6, 2, 2).astype("float32")
    outputs = ops.convert_to_numpy(layer.data_dependent_initialize(inputs))
    np.testing.assert_allclose(outputs, call(layer, inputs), rtol=1e-6)
    np.testing.assert_allclose(features_of(layer, inputs).mean(axis=(0, 1)), 0, atol=1e-6)


@pytest.mark.parametrize("weight_norm", [True, False])
def test_data_dependent_initialization_keeps_the_scale_of_constant_kernels(weight_norm):
    equal = np.full((6, 5), 0.3, "float32")
    but_for_rounding = equal + np.arange(6, dtype="float32")[:, None] * np.float32(2**-23)
    for inputs in (equal, but_for_rounding):
        layer = random_layer(weight_norm=weight_norm, dtype="float32")
        before = layer.get_weights()
        layer.data_dependent_initialize(inputs)
        after = layer.get_weights()
        for old, new in zip(before[:-1], after[:-1]):
            np.testing.assert_array_equal(new, old)
        np.testing.assert_allclose(after[-1], -5, rtol=1e-5)

    # One kernel alone that sees no difference: its theta is 0 where the rows differ.
    layer = random_layer(weight_norm=weight_norm, dtype="float32")
    theta = layer.get_weights()[0]
    theta[1:, 1] = 0
    layer.theta.assign(theta)
    before = layer.get_weights()
    inputs = normal(6, 5).astype("float32")
    inputs[:, 0] = 1
    layer.data_dependent_initialize(inputs)
    changed = np.any(layer.get_weights()[int(weight_norm)] != before[int(weight_norm)], axis=-1)
    changed = changed if weight_norm else changed.any(axis=0)
    assert changed.tolist() == [True, False, True]
    assert all(np.all(np.isfinite(weight)) for weight in layer.get_weights())


def test_data_dependent_initialization_of_one_row():
    layer = random_layer(dtype="float32")
    before = layer.get_weights()
    layer.data_dependent_initialize(normal(1, 5).astype("float32"))
    np.testing.assert_array_equal(layer.get_weights()[1], before[1])
    np.testing.assert_array_equal(layer.get_weights()[2], 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_kernels": 0}, r"`num_kernels` must be a positive integer. Received: num_kernels=0"),
        ({"num_kernels": True}, r"`num_kernels` must be a positive integer. Received: num_kernels=True"),
        ({"kernel_dim": 2.5}, r"`kernel_dim` must be a positive integer. Received: kernel_dim=2.5"),
        ({"num_groups": 3}, r"`num_groups` must be 1 or 2. Received: num_groups=3"),
        ({"reduction": "median"}, r"`reduction` must be one of .*'mean_all_pairs'.* Received: reduction='median'"),
    ],
)
def test_refused_arguments(settings, message):
    with pytest.raises(ValueError, match=message):
        MinibatchDiscrimination(**settings)


@pytest.mark.parametrize(
    ("num_groups", "shape", "message"),
    [
        (1, (6,), r"rank 2 or more, batch included. Received: inputs.shape=\(6,\)"),
        (1, (6, None), r"every size but the batch's to be known. Received: inputs.shape=\(6, None\)"),
        (2, (5, 4), r"`num_groups=2` takes a joint batch .* even number of rows. Received: inputs.shape=\(5, 4\)"),
    ],
)
def test_refused_shapes(num_groups, shape, message):
    layer = MinibatchDiscrimination(3, 2, num_groups=num_groups)
    for refuse in (layer.build, layer.compute_output_shape):
        with pytest.raises(ValueError, match=message):
            refuse(shape)
    if None not in shape:
        with pytest.raises(ValueError, match=message):
            MinibatchDiscrimination(3, 2, num_groups=num_groups)(np.zeros(shape, "float32"))


def test_refused_calls_of_a_built_layer():
    layer = MinibatchDiscrimination(3, 2, num_groups=2)
    layer(np.zeros((4, 5), "float32"))
    with pytest.raises(ValueError, match=r"even number of rows. Received: inputs.shape=\(3, 5\)"):
        layer(np.zeros((3, 5), "float32"))
    with pytest.raises(ValueError, match=r"built for inputs of 5 values an example. Received: inputs.shape=\(4, 6\)"):
        layer(np.zeros((4, 6), "float32"))


@tensorflow_only
def test_graph_of_open_batch_size():
    import tensorflow as tf

    layer = random_layer(num_groups=2, dtype="float32")

    @tf.function(input_signature=[tf.TensorSpec((None, 5))])
    def outputs_and_gradient(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs)
            objective = tf.reduce_sum(outputs**2)
        return outputs, tape.gradient(objective, inputs)

    for num_rows in (2, 6):
        inputs = normal(num_rows, 5).astype("float32")
        outputs, gradient = outputs_and_gradient(inputs)
        np.testing.assert_allclose(outputs, call(layer, inputs), rtol=1e-5, atol=1e-6)
        expected, _ = layer_gradients(layer, inputs, 2 * call(layer, inputs))
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(tf.errors.InvalidArgumentError, match="reshape"):
        outputs_and_gradient(normal(5, 5).astype("float32"))


def every_operation(function):
    """The operations of a concrete function and of all functions that it calls."""
    definition = function.graph.as_graph_def()
    return [*definition.node, *(node for called in definition.library.function for node in called.node_def)]


@tensorflow_only
@pytest.mark.parametrize("num_rows", [8, None])
@pytest.mark.parametrize(("gpus", "jit_compile"), [(0, False), (1, False), (0, True)])
def test_loops_are_the_cpus_and_those_of_unknown_batches(monkeypatch, gpus, jit_compile, num_rows):
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: ["GPU:0"] * gpus)
    layer = MinibatchDiscrimination(2, 3, num_groups=2)
    layer.build((None, 4))

    @tf.function(input_signature=[tf.TensorSpec((num_rows, 4))], jit_compile=jit_compile)
    def gradients(inputs):
        with tf.GradientTape() as tape:
            objective = tf.reduce_sum(layer(inputs))
        return tape.gradient(objective, [weight.value for weight in layer.trainable_weights])

    kinds = {node.op for node in every_operation(gradients.get_concrete_function())}
    loops = bool(kinds & {"While", "StatelessWhile"})
    assert loops == (num_rows is None or not (gpus or jit_compile))


@tensorflow_only
def test_no_block_is_larger_than_the_limit(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(forms, "has_gpu", lambda: True)
    monkeypatch.setattr(forms, "BROADCAST_VALUES", 3 * 8 * 5 * 4)

    @tf.function(input_signature=[tf.TensorSpec((8, 5, 4))], autograph=False)
    def gradients(projections):
        return tf.gradients(tf.reduce_sum(pairwise_distances(projections)), projections)

    operations = gradients.get_concrete_function().graph.get_operations()
    sizes = [output.shape.num_elements() or 0 for each in operations for output in each.outputs if output.shape.rank]
    assert max(sizes) == forms.BROADCAST_VALUES


@tensorflow_only
def test_no_tensor_of_the_broadcasting_size():
    """Neither in the forward nor in the backward graph, nor kept by a loop step by step."""
    import tensorflow as tf

    num_rows, num_kernels, kernel_dim = 8, 3, 10
    layer = MinibatchDiscrimination(num_kernels, kernel_dim)
    layer.build((num_rows, 4))

    @tf.function(input_signature=[tf.TensorSpec((num_rows, 4))])
    def gradients(inputs):
        with tf.GradientTape() as tape:
            objective = tf.reduce_sum(layer(inputs))
        return tape.gradient(objective, [weight.value for weight in layer.trainable_weights])

    graph = gradients.get_concrete_function().graph
    graphs = [graph, *[function.graph for function in graph._functions.values() if hasattr(function, "graph")]]
    definition = graph.as_graph_def()
    operations = [operation for each in graphs for operation in each.get_operations()]
    kinds = {operation.type for operation in operations}
    kinds |= {node.op for function in definition.library.function for node in function.node_def}
    assert not kinds & {"TensorListPushBack", "StackPushV2"}, "automatic differentiation of a loop keeps its steps"
    largest = max(
        output.shape.num_elements() or 0 for each in operations for output in each.outputs if output.shape.rank
    )
    assert largest <= num_rows * num_rows * num_kernels + num_rows * num_kernels * kernel_dim


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="reads a jaxpr")
def test_no_value_of_the_broadcasting_size_under_jax():
    import jax

    num_rows, num_kernels, kernel_dim = 8, 3, 10
    sizes = []

    def visit(jaxpr):
        for equation in jaxpr.eqns:
            sizes.extend(int(np.prod(variable.aval.shape)) for variable in equation.outvars)
            for inner in jax.core.jaxprs_in_params(equation.params):
                visit(inner)

    def objective(projections):
        return ops.sum(ops.exp(-pairwise_distances(projections)))

    visit(jax.make_jaxpr(jax.grad(objective))(normal(num_rows, num_kernels, kernel_dim).astype("float32")).jaxpr)
    assert len(sizes) > 30
    assert max(sizes) < num_rows * num_rows * num_kernels * kernel_dim
