"""What a graph may do without being trusted: compute. Files of every form are checked, functions within included."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("classifiers need the TensorFlow backend", allow_module_level=True)

import tensorflow as tf

from igan_tf.errors import EvaluationError
from igan_tf.evaluation import load_classifier
from igan_tf.evaluation.classifiers.operations import ARITHMETIC
from tests.evaluation.graphs_with_code import Writes, frozen, saved
from tests.evaluation.inception_graphs import Builder, graph, write

IMAGES = np.zeros((1, 299, 299, 3), "uint8")


@pytest.mark.parametrize("form", [frozen, saved])
def test_a_file_that_a_library_function_writes(tmp_path, form):
    written = tmp_path / "written"
    path = form(Writes, written, tmp_path)
    with pytest.raises(EvaluationError) as caught:
        load_classifier("inception", path=path)
    text = str(caught.value)
    assert text.startswith(f"`trust_file` must be True to run `path={path}`: not all of its operations")
    assert "WriteFile in the function __inference_deepest_" in text and text.endswith("Received: trust_file=False")
    assert caught.value.argument == "trust_file" and not written.exists()
    # It is no empty threat.
    load_classifier("inception", path=path, trust_file=True)(IMAGES)
    assert written.read_text() == "written"


@pytest.mark.parametrize("operation", ["ReadFile", "PyFunc", "RandomUniform", "AssignVariableOp", "RestoreV2", "Print"])
def test_an_operation_that_is_not_on_the_list(tmp_path, operation):
    """Wherever it stands: nothing here depends on it."""
    builder = Builder()
    builder.graph_def.CopyFrom(graph())
    builder.add("unused", operation)
    with pytest.raises(EvaluationError, match=f"`trust_file` must be True .* arithmetic alone: {operation}. Received:"):
        load_classifier("inception", path=write(tmp_path, builder.graph_def))


def function(library, name, *operations):
    added = library.function.add()
    added.signature.name = name
    for number, operation in enumerate(operations):
        added.node_def.add(name=f"node{number}", op=operation)
    return added


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda library: function(library, "f", "SaveV2"), r"arithmetic alone: SaveV2 in the function f\. "),
        # A function may be called as an operation is, and have an operation's name.
        (lambda library: function(library, "MatMul", "WriteFile"), r"WriteFile in the function MatMul\. "),
        (lambda library: function(library, "f").attr["api_implements"], r"api_implements of the function f\. "),
        (
            lambda library: [function(library, f"f{number}", "WriteFile") for number in range(9)],
            "in the function f4 and 4 more. Received: trust_file=False",
        ),
        (lambda library: [function(library, "f") for _ in range(2)], "several of its functions have one name"),
    ],
    ids=["call", "shadow", "swap", "many", "twice"],
)
def test_functions_of_a_frozen_graph(tmp_path, change, message):
    graph_def = graph()
    change(graph_def.library)
    with pytest.raises(EvaluationError, match=message):
        load_classifier("inception", path=write(tmp_path, graph_def))


def test_what_saves_a_saved_model_is_checked_where_something_else_calls_it(tmp_path):
    """Loading does not run the saver, whose functions read and write; a graph that calls them does."""
    module = tf.Module()
    module.weights = tf.Variable(tf.ones((3, 1008)))

    @tf.function(input_signature=[tf.TensorSpec((None, 299, 299, 3), tf.float32)], autograph=False)
    def call(images):
        features = tf.reduce_mean(images, (1, 2))
        return {"logits": features @ module.weights, "pool_3": features}

    module.__call__ = call
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=call)
    file = tmp_path / "saved" / "saved_model.pb"
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    (meta_graph,) = model.meta_graphs
    operations = {node.op for function in meta_graph.graph_def.library.function for node in function.node_def}
    assert {"SaveV2", "RestoreV2"} <= operations
    load_classifier("inception", path=tmp_path / "saved")(IMAGES)
    (saver,) = (f.signature.name for f in meta_graph.graph_def.library.function if "traced_save" in f.signature.name)

    def by_a_node():
        node = meta_graph.graph_def.node.add(name="more", op="PartitionedCall")
        node.attr["f"].func.name = saver

    def by_a_function():
        (called,) = (f for f in meta_graph.graph_def.library.function if "__inference_call" in f.signature.name)
        called.node_def.add(name="more", op="PartitionedCall").attr["f"].func.name = saver

    def by_an_object():
        meta_graph.object_graph_def.concrete_functions[saver].canonicalized_input_signature.Clear()

    def by_an_object_that_has_it():
        meta_graph.object_graph_def.nodes.add().bare_concrete_function.concrete_function_name = saver

    def by_a_function_object():
        meta_graph.object_graph_def.nodes.add().function.concrete_functions.append(saver)

    def by_the_loader_of_version_1():
        meta_graph.ClearField("object_graph_def")

    whole = model.SerializeToString()
    by_objects = (by_an_object, by_an_object_that_has_it, by_a_function_object)
    for change in (by_a_node, by_a_function, *by_objects, by_the_loader_of_version_1):
        model.ParseFromString(whole)
        (meta_graph,) = model.meta_graphs
        change()
        file.write_bytes(model.SerializeToString())
        with pytest.raises(EvaluationError, match=r"`trust_file` must be True .*SaveV2 in the function"):
            load_classifier("inception", path=tmp_path / "saved")


def test_the_list_is_tensorflows_operations_without_state():
    """But for calls, of functions that are checked, variables, which are read, and what may end in an error."""
    from tensorflow.python.framework import op_def_registry

    known = {name: op_def_registry.get(name) for name in ARITHMETIC}
    assert None not in known.values()
    stateful = {name for name, operation in known.items() if operation.is_stateful}
    assert stateful == {"CheckNumerics", "ReadVariableOp", "StatefulPartitionedCall", "VarHandleOp"}
