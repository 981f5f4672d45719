"""Names for annotations: Keras has no type of its own for the tensors of every backend."""

from typing import Any, TypeAlias

# A backend's tensor, a symbolic `keras.KerasTensor`, a NumPy array, a `keras.Variable`.
Tensor: TypeAlias = Any
# Sizes of a tensor, the batch first; None: not known.
Shape: TypeAlias = tuple[int | None, ...]
