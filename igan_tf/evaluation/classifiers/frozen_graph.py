"""The 2015 Inception network as a frozen graph, the form it was published in: classify_image_graph_def.pb."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

from igan_tf.errors import EvaluationError, counted
from igan_tf.evaluation.classifiers import operations

INPUT_SIZE = (299, 299)
NUM_OUTPUTS = 1008
# The 2015 graph's convolutions take (pixel - 128) / 128.
VALUE_RANGE = (-1.0, 127 / 128)
# Files that hold it, by their names within the archives that are served: the published one, and TF-GAN 1's.
FILES = ("classify_image_graph_def.pb", "inceptionv1_for_inception_score.pb")
FEATURES = "pool_3"
# The logits' node in each of the two.
_LOGITS = ("softmax/logits", "logits")
_RESIZE = "ResizeBilinear"
# Where images enter a graph of which the decoding, or that and the resize, were cut off; and their range there.
_CUT_INPUTS = {_RESIZE: (0.0, 255.0), "Mul": VALUE_RANGE}
# Operations that do not change what passes through them, or add the bias: between the product and the output.
_AFTER_PRODUCT = ("Identity", "Reshape", "Squeeze", "BiasAdd", "Add", "AddV2")


def load(
    content: bytes, place: str, protocol: str, trust_file: bool
) -> tuple[Callable[[Any], tuple[np.ndarray, np.ndarray]], tuple[float, float], bool]:
    """Loads the network from a serialized `GraphDef`.

    Images of any size enter where the published scripts feed them, before the graph's own resize to 299 x 299
    (bilinear, pixel corners aligned at the top left, no antialiasing). The file was made for one image at a time:
    the batch's size is taken out of it.

    Args:
        content: The `GraphDef`.
        place: What messages call it.
        protocol: "original": logits without their bias.
        trust_file: Whether it may have operations other than arithmetic ones.

    Returns:
        (function, value range, own resize): images in the range -> ((N, 1008) logits, (N, ..., D) features), and
        whether the graph resizes them.

    Raises:
        EvaluationError: for a graph of another form, or with operations that need trust.
        google.protobuf.message.DecodeError: and others of TensorFlow's for a damaged one.
    """
    graph_def = tf.compat.v1.GraphDef.FromString(content)
    if not trust_file:
        operations.check_graph(graph_def, place)
    nodes = {node.name: node for node in graph_def.node}
    logits_name = next((name for name in _LOGITS if name in nodes), _LOGITS[0])
    for name in (logits_name, FEATURES):
        if name not in nodes:
            found = counted(len(nodes), "node")
            raise EvaluationError(f"{place} must have the node {name}. Received: a graph of {found}")
    entry, value_range, own_resize = _entry(nodes, place)
    size = (None, None) if own_resize else INPUT_SIZE
    entry.CopyFrom(tf.compat.v1.NodeDef(name=entry.name, op="Placeholder"))
    entry.attr["dtype"].type = tf.float32.as_datatype_enum
    entry.attr["shape"].shape.CopyFrom(tf.TensorShape((None, *size, 3)).as_proto())
    _take_batches(nodes)
    _check_constants(nodes)
    graph = tf.Graph()
    with graph.as_default():
        names = [f"{entry.name}:0", f"{logits_name}:0", f"{FEATURES}:0"]
        images, logits, features = tf.graph_util.import_graph_def(graph_def, return_elements=names, name="")
    check_outputs(logits.shape, features.shape, place)
    if protocol == "original":
        logits = product_of(logits, place)
    # A tf.function cannot run it: BatchNormWithGlobalNormalization is for graphs below version 9, and a function gets
    # TensorFlow's own version. A session keeps the graph's.
    run = tf.compat.v1.Session(graph=graph).make_callable([logits, features], [images])
    return lambda batch: tuple(run(np.asarray(batch))), value_range, own_resize


def _entry(nodes: dict[str, Any], place: str) -> tuple[Any, tuple[float, float], bool]:
    """The node that images replace, their range there, and whether the graph resizes them."""
    for name, value_range in _CUT_INPUTS.items():
        node = nodes.get(name)
        if node is not None and node.op == "ResizeBilinear":
            return nodes[_name(node.input[0])], value_range, True
        if node is not None and node.op == "Placeholder":
            return node, value_range, False
    raise EvaluationError(
        f"{place} must have the node {_RESIZE}, or a placeholder {' or '.join(_CUT_INPUTS)}. "
        f"Received: a graph of {counted(len(nodes), 'node')}"
    )


def _take_batches(nodes: dict[str, Any]) -> None:
    """Takes out of a graph that it is for one image: of the shapes it notes, and where the features are flattened."""
    for node in nodes.values():
        node.attr.pop("_output_shapes", None)
        if node.op == "Reshape" and _name(node.input[0]) == FEATURES:
            shape = nodes[_name(node.input[1])]
            if shape.op == "Const":
                sizes = tf.make_ndarray(shape.attr["value"].tensor)
                sizes[:1] = -1
                shape.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(sizes))


def _check_constants(nodes: dict[str, Any]) -> None:
    """Raises a ValueError for a constant of another type than is read from it: TensorFlow would end the process."""
    for node in nodes.values():
        definition = op_def_registry.get(node.op)
        if definition is None:
            raise ValueError(f"TensorFlow has no operation {node.op}")
        defaults = {attribute.name: attribute.default_value for attribute in definition.attr}
        types: list[int] = []
        for argument in definition.input_arg:
            if argument.type_list_attr:
                types += node.attr[argument.type_list_attr].list.type
                continue
            given = node.attr if argument.type_attr in node.attr else defaults
            kind = argument.type or given[argument.type_attr].type
            types += [kind] * (node.attr[argument.number_attr].i if argument.number_attr else 1)
        for kind, tensor in zip(types, node.input):
            constant = nodes[_name(tensor)]
            if constant.op == "Const" and {constant.attr["dtype"].type, constant.attr["value"].tensor.dtype} != {kind}:
                raise ValueError(f"the constant {constant.name} has another type than {node.name} takes")


def _name(tensor: str) -> str:
    """The node that a node's input comes from."""
    return tensor.split(":")[0]


def check_outputs(logits: tf.TensorShape, features: tf.TensorShape, place: str) -> None:
    """Refuses outputs of another shape than one row of 1008 logits, and one of features, for each image.

    Raises:
        EvaluationError: with both shapes.
    """
    fits = tf.TensorShape((None, NUM_OUTPUTS)).is_compatible_with(logits)
    if not fits or any(shape.rank is not None and (not shape.rank or shape[0]) for shape in (logits, features)):
        raise EvaluationError(
            f"{place} must give logits of the shape (None, {NUM_OUTPUTS}), and features for each image. "
            f"Received: outputs of the shapes {logits} and {features}"
        )


def product_of(logits: tf.Tensor, place: str) -> tf.Tensor:
    """The matrix product from which `logits` differ by a bias at most.

    Raises:
        EvaluationError: where there is none.
    """
    product = _last_product(logits.op)
    if product is None or product.outputs[0].shape[-1] != NUM_OUTPUTS:
        last = logits if product is None else product.outputs[0]
        raise EvaluationError(
            f"`protocol=original` needs a matrix product of {NUM_OUTPUTS} outputs before the logits' bias. "
            f"Received: {place}, which ends in {last.op.type} of shape {last.shape}"
        )
    return product.outputs[0]


def _last_product(operation: tf.Operation) -> tf.Operation | None:
    """The matrix product from which `operation` differs by a bias at most, or None."""
    if operation.type == "MatMul":
        return operation
    if operation.type not in _AFTER_PRODUCT:
        return None
    return next(filter(None, (_last_product(tensor.op) for tensor in operation.inputs)), None)
