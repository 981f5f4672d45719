"""The precision that layers are made with; sums and means in float32 at least, whatever goes into them.

Half precision loses what a mean, a norm or a difference is there to measure; float64 is kept.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import keras
from keras import backend, ops


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Layers and models made in this scope have this dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def output_layers() -> AbstractContextManager[None]:
    """Layers made in this scope, a network's last, compute in float32 at least under the mixed and half policies."""
    return dtype_policy(wide_dtype(keras.config.dtype_policy().compute_dtype))


def wide_dtype(*dtypes: Any) -> str:
    """`"float64"` where any of the dtypes is that, `"float32"` otherwise."""
    return "float64" if any(backend.standardize_dtype(dtype) == "float64" for dtype in dtypes) else "float32"


def to_wide(*tensors: Any) -> Any:
    """Casts to the `wide_dtype` that the tensors have in common.

    Args:
        *tensors: Tensors or arrays of any numeric dtype. (JAX turns NumPy's float64 into float32 unless x64 is on.)

    Returns:
        The cast tensor, or a tuple of them where several were given.
    """
    converted = [ops.convert_to_tensor(tensor) for tensor in tensors]
    dtype = wide_dtype(*(tensor.dtype for tensor in converted))
    cast = tuple(ops.cast(tensor, dtype) for tensor in converted)
    return cast if len(cast) > 1 else cast[0]


def mean(tensor: Any, axis: int | None = None) -> Any:
    """Mean over one axis, or over all, in the tensor's own dtype.

    `keras.ops.mean` of a float64 tensor is a float32 mean cast to float64 on JAX and PyTorch (Keras 3.15).
    """
    sizes = ops.shape(tensor)
    count = math.prod(sizes) if axis is None else sizes[axis]
    return ops.sum(tensor, axis=axis) / ops.cast(count, tensor.dtype)
