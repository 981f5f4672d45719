"""Which operations a graph may have to be run without being trusted: a graph can read and write files.

Everything in the file is checked, library functions included, and not only what leads to the outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from igan_tf.errors import EvaluationError

# Those of the 2015 Inception graph, as TensorFlow's documentation counts them.
_OF_INCEPTION = """
AvgPool BatchNormWithGlobalNormalization BiasAdd Cast CheckNumerics Concat Const Conv2D DecodeJpeg ExpandDims Identity
MatMul MaxPool Mul Relu Reshape ResizeBilinear Softmax Sub
"""
# What later exports of such networks have besides, or in their place; variables are read, never assigned.
_OF_EXPORTS = """
Add AddN AddV2 ConcatV2 DepthwiseConv2dNative Div FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 IdentityN LogSoftmax
Max Maximum Mean Min Minimum Neg NoOp Pack Pad PadV2 PartitionedCall Placeholder PlaceholderWithDefault ReadVariableOp
RealDiv Relu6 Rsqrt Shape Sigmoid Slice Split SplitV Sqrt Square SquaredDifference Squeeze StatefulPartitionedCall
StopGradient StridedSlice Sum Tanh Transpose Unpack VarHandleOp
"""
ARITHMETIC = frozenset((_OF_INCEPTION + _OF_EXPORTS).split())
# Has TensorFlow run another function of the file in place of the one that is called.
_SWAPS = "api_implements"
_MOST_NAMED = 5


def check_graph(graph_def: Any, place: str) -> None:
    """Refuses a `GraphDef` with an operation, library functions included, that is not `ARITHMETIC`.

    Args:
        graph_def: The `GraphDef`.
        place: What the message calls it.

    Raises:
        EvaluationError: that names the operations and the functions that they are in.
    """
    _check(graph_def.node, _library(graph_def), place)


def check_saved_model(folder: str | Path, place: str) -> None:
    """Refuses a SavedModel, before it is loaded, as `check_graph` does; its saver apart, which loading does not run.

    Raises:
        EvaluationError: that names the operations and the functions that they are in.
    """
    # Which of several files of one folder is read is decided as it is for loading.
    from tensorflow.python.saved_model.loader_impl import parse_saved_model

    graphs = parse_saved_model(str(folder)).meta_graphs
    for graph in graphs:
        library, nodes = _library(graph.graph_def), list(graph.graph_def.node)
        # Otherwise TensorFlow loads it as of version 1, and runs its saver.
        if len(graphs) == 1 and graph.HasField("object_graph_def"):
            of_saver = _upstream([graph.saver_def.save_tensor_name, graph.saver_def.restore_op_name], nodes)
            others = [node for node in nodes if node.name not in of_saver]
            kept = _callees(_called(others), library)
            kept |= _callees(_restored(graph.object_graph_def), library)
            saving = _callees(_called(node for node in nodes if node.name in of_saver), library) - kept
            library, nodes = {name: library[name] for name in library if name not in saving}, others
        _check(nodes, library, place)


def _check(nodes: Iterable[Any], library: Mapping[str, Any], place: str) -> None:
    known = ARITHMETIC | set(library)
    found = [node.op for node in nodes if node.op not in known]
    for name, function in library.items():
        found += [f"{node.op} in the function {name}" for node in function.node_def if node.op not in known]
        found += [f"{_SWAPS} of the function {name}"] if _SWAPS in function.attr else []
    names = sorted(set(found))
    if names:
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        raise EvaluationError(
            f"`trust_file` must be True to run {place}: not all of its operations are known to be arithmetic alone: "
            f"{', '.join(names[:_MOST_NAMED])}{more}. Received: trust_file=False"
        )


def _library(graph_def: Any) -> dict[str, Any]:
    """The functions of a graph by name."""
    functions = graph_def.library.function
    library = {function.signature.name: function for function in functions}
    if len(library) < len(functions):
        raise ValueError("several of its functions have one name")
    return library


def _restored(objects: Any) -> set[str]:
    """The functions that the objects of a SavedModel can have when it is loaded."""
    names = set(objects.concrete_functions)
    for node in objects.nodes:
        names |= {*node.function.concrete_functions, node.bare_concrete_function.concrete_function_name}
    return names


def _upstream(names: Iterable[str], nodes: Iterable[Any]) -> set[str]:
    """The names of the nodes that the nodes or tensors `names` depend on, themselves among them."""
    return _closure(_names(names), {node.name: _names(node.input) for node in nodes})


def _names(inputs: Iterable[str]) -> list[str]:
    """The nodes of inputs such as name, name:1 and ^name."""
    return [name.lstrip("^").split(":")[0] for name in inputs]


def _callees(names: Iterable[str], library: Mapping[str, Any]) -> set[str]:
    """Those of `names` that are functions, and all that these call, directly or not."""
    return _closure(names, {name: _called(function.node_def) for name, function in library.items()})


def _closure(names: Iterable[str], following: Mapping[str, Iterable[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in following and name not in found:
            found.add(name)
            waiting += following[name]
    return found


def _called(nodes: Iterable[Any]) -> list[str]:
    """What nodes may call: functions in their attributes, and an operation's name can be a function's."""
    names: list[str] = []
    for node in nodes:
        names.append(node.op)
        waiting = list(node.attr.values())
        while waiting:
            value = waiting.pop()
            for function in [value.func, *value.list.func]:
                names.append(function.name)
                waiting += function.attr.values()
    return names
