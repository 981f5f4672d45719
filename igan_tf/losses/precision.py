"""The precision in which every loss is computed."""

import math

from keras import backend, ops


def to_loss_precision(*tensors):
    """Casts to the losses' common dtype: float64 where any tensor has it, float32 otherwise.

    Means and differences of half-precision logits lose what a loss is there to measure, so float16 and bfloat16
    are raised; float64 is kept.

    Args:
        *tensors: tensors or arrays of any numeric dtype. (JAX turns NumPy's float64 into float32 unless x64 is on.)

    Returns:
        The cast tensor, or a tuple of them where several were given.
    """
    tensors = [ops.convert_to_tensor(tensor) for tensor in tensors]
    double = any(backend.standardize_dtype(tensor.dtype) == "float64" for tensor in tensors)
    cast = tuple(ops.cast(tensor, "float64" if double else "float32") for tensor in tensors)
    return cast if len(cast) > 1 else cast[0]


def mean(tensor, axis=None):
    """Mean over one axis, or over all, in the tensor's own dtype.

    `keras.ops.mean` of a float64 tensor is a float32 mean cast to float64 on JAX and PyTorch (Keras 3.15).
    """
    sizes = ops.shape(tensor)
    count = math.prod(sizes) if axis is None else sizes[axis]
    return ops.sum(tensor, axis=axis) / ops.cast(count, tensor.dtype)
