"""Gradients written out by hand, in one form for every backend."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from keras import ops

from igan_tf.types import Tensor


def own_gradient(function: Callable) -> Callable:
    """Decorates a function that brings its gradient along: `keras.ops.custom_gradient`, alike on every backend.

    Second derivatives are those of the operations that `gradient` is made of, tensors of the forward pass included.

    Args:
        function: `inputs -> (output, gradient)`, with one output and `gradient(upstream)` giving the gradients to the
            inputs.

    Returns:
        The function of `inputs` alone.
    """

    @ops.custom_gradient
    @functools.wraps(function)
    def with_gradient(*inputs: Tensor) -> tuple[Tensor, Callable]:
        output, gradient = function(*inputs)

        def of_any_backend(*arguments: Tensor, upstream: Tensor | None = None) -> Any:
            # PyTorch passes the inputs by position and `upstream` by name, the others `upstream` alone by position.
            return gradient(arguments[0] if upstream is None else upstream)

        return output, of_any_backend

    return with_gradient
