"""Values and gradients by the automatic differentiation of whichever backend Keras runs on."""

import contextlib

import keras
import numpy as np
from keras import ops


@contextlib.contextmanager
def float64_enabled():
    """Lets JAX keep float64 inside the block; the other backends always do."""
    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


def value_and_gradients(function, arrays):
    """Value of `function(*tensors)`, a scalar, and its gradients to each of `arrays`, all as NumPy.

    An array that the result does not depend on has gradient None (zeros under JAX, which knows no None).
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        tensors = [jax.numpy.asarray(array) for array in arrays]
        value, gradients = jax.value_and_grad(function, argnums=tuple(range(len(tensors))))(*tensors)
    elif backend == "torch":
        import torch

        tensors = [ops.convert_to_tensor(array).detach().clone().requires_grad_(True) for array in arrays]
        value = function(*tensors)
        gradients = torch.autograd.grad(value, tensors, allow_unused=True)
    else:
        import tensorflow as tf

        tensors = [tf.constant(array) for array in arrays]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = function(*tensors)
        gradients = tape.gradient(value, tensors)
    return _to_numpy(value), [_to_numpy(gradient) for gradient in gradients]


def layer_gradients(layer, inputs, cotangent, **call_arguments):
    """Gradients of sum(layer(inputs) * cotangent): (to the inputs, [to each trainable weight, in order]).

    Goes through the layer's own variables where the backend differentiates by variables (TensorFlow, PyTorch), so
    that a custom gradient which closes over one is seen to fail; JAX goes through `stateless_call`.
    """
    backend = keras.backend.backend()

    def objective(outputs):
        weighted = ops.cast(outputs, cotangent.dtype) * ops.convert_to_tensor(cotangent)
        return ops.sum(weighted)

    if backend == "jax":
        rest = [variable.value for variable in layer.non_trainable_variables]

        def function(tensor, *weights):
            return objective(layer.stateless_call(list(weights), rest, tensor, **call_arguments)[0])

        weights = [variable.value for variable in layer.trainable_variables]
        gradients = value_and_gradients(function, [inputs, *weights])[1]
    elif backend == "torch":
        import torch

        tensor = ops.convert_to_tensor(inputs).detach().clone().requires_grad_(True)
        sources = [tensor, *[variable.value for variable in layer.trainable_variables]]
        value = objective(layer(tensor, **call_arguments))
        gradients = torch.autograd.grad(value, sources, allow_unused=True)
    else:
        import tensorflow as tf

        tensor = tf.constant(inputs)
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            value = objective(layer(tensor, **call_arguments))
        gradients = tape.gradient(value, [tensor, *[variable.value for variable in layer.trainable_variables]])
    gradients = [_to_numpy(gradient) for gradient in gradients]
    return gradients[0], gradients[1:]


def _to_numpy(tensor):
    if tensor is None:
        return None
    tensor = tensor.detach() if hasattr(tensor, "detach") else tensor
    return np.asarray(ops.convert_to_numpy(ops.convert_to_tensor(tensor)))
