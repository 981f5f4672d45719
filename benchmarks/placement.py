"""Where a traced function's operations would run beside a GPU, and what would be copied between the GPU and the host.

It is read from the kernels that the installed TensorFlow has registered, which say for every type whether there is one
for a GPU and which of its inputs and outputs it wants in the host's memory; so it needs no GPU. The graph is the traced
one, before TensorFlow's optimizers: they remove operations, and add none that would wait for the host.
"""

import dataclasses
import functools

import tensorflow as tf
from tensorflow.python.framework import kernels

HOST, DEVICE = "host", "device"
# What is no work: arguments, constants, and what passes values on.
_FREE = {"Placeholder", "Const", "NoOp", "Identity", "IdentityN"}


@dataclasses.dataclass
class Placement:
    """What a function does beside a GPU.

    Attributes:
        operations: How many operations run on the GPU.
        on_cpu: Operations without a kernel for a GPU, as `name (type)`.
        on_cpu_by_choice: Those that the program puts on the CPU.
        to_host, to_device: Tensors that are copied, `name`s, each once.
        constants: What else goes to the GPU and is the same in every step: a few bytes each, for which nothing waits.
        kinds: All operations' types.
    """

    operations: int = 0
    on_cpu: list = dataclasses.field(default_factory=list)
    on_cpu_by_choice: list = dataclasses.field(default_factory=list)
    to_host: list = dataclasses.field(default_factory=list)
    to_device: list = dataclasses.field(default_factory=list)
    constants: list = dataclasses.field(default_factory=list)
    kinds: list = dataclasses.field(default_factory=list)


def placement(concrete_function):
    """The `Placement` of a `tf.function`'s concrete function, those that it calls included."""
    found = Placement()
    _visit(concrete_function.graph, found)
    for function in concrete_function.graph._functions.values():
        if hasattr(function, "graph"):
            _visit(function.graph, found)
    return found


def _visit(graph, found):
    memory, copied, constant = {}, set(), set()
    for operation in graph.get_operations():
        kernel = None if "CPU" in operation.device else _gpu_kernel(operation)
        host_arguments = set(kernel.host_memory_arg) if kernel else set()
        found.kinds.append(operation.type)
        if operation.type not in _FREE:
            if kernel:
                found.operations += 1
            else:
                place = found.on_cpu_by_choice if "CPU" in operation.device else found.on_cpu
                place.append(f"{operation.name} ({operation.type})")
        depends = operation.type == "Placeholder" or operation.op_def.is_stateful
        if not depends and all(tensor.ref() in constant for tensor in operation.inputs):
            constant |= {tensor.ref() for tensor in operation.outputs}
        # Arguments that are no variables come from the host.
        on_host = kernel is None or operation.type == "Placeholder"
        for tensor, name in zip(operation.outputs, _argument_names(operation, "output_arg")):
            memory[tensor.ref()] = HOST if on_host or name in host_arguments else DEVICE
        for tensor, name in zip(operation.inputs, _argument_names(operation, "input_arg")):
            wanted = HOST if kernel is None or name in host_arguments else DEVICE
            # Handles of variables stay where they are.
            if tensor.dtype in (tf.resource, tf.variant) or memory[tensor.ref()] == wanted:
                continue
            if (tensor.ref(), wanted) not in copied:
                copied.add((tensor.ref(), wanted))
                to_device = found.constants if tensor.ref() in constant else found.to_device
                (found.to_host if wanted == HOST else to_device).append(tensor.name)


def _argument_names(operation, of):
    """The name of the argument that each input or output belongs to: lists have several of one name."""
    names = []
    for argument in getattr(operation.op_def, of):
        if argument.number_attr:
            count = operation.get_attr(argument.number_attr)
        elif argument.type_list_attr:
            count = len(operation.get_attr(argument.type_list_attr))
        else:
            count = 1
        names += [argument.name] * count
    return names


def _gpu_kernel(operation):
    """The kernel that a GPU would run, or None."""
    for kernel in _gpu_kernels(operation.type):
        if all(_allowed(operation, constraint) for constraint in kernel.constraint):
            return kernel
    return None


@functools.cache
def _gpu_kernels(kind):
    found = kernels.get_registered_kernels_for_op(kind).kernel
    return [kernel for kernel in found if kernel.device_type in ("GPU", "DEFAULT")]


def _allowed(operation, constraint):
    value = operation.get_attr(constraint.name)
    types = value if isinstance(value, list) else [value]
    return all(each.as_datatype_enum in constraint.allowed_values.list.type for each in types)
