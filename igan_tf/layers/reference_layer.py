"""The base of the layers that know of a reference batch."""

from __future__ import annotations

from typing import Any

import keras
from keras.src.backend.common.global_state import get_global_attribute
from keras.src.backend.common.stateless_scope import in_stateless_scope
from keras.src.backend.common.symbolic_scope import in_symbolic_scope

from igan_tf.types import Shape, Tensor

# What Keras's context of the outermost call holds for this package: the sizes of the references prepended in it.
_PREPENDED = "igan_tf_prepended_references"


class ReferenceLayer(keras.layers.Layer):
    """Base of layers that treat the first `reference_size` rows of their batch as the reference batch.

    Training and inference are alike. Between `igan_tf.layers.freeze_reference(model)` and `unfreeze_reference(model)`
    the layer is `frozen`: no reference rows travel in the batch, every row is an example.

    Args:
        reference_size: Number of reference rows, R.
        frozen: Whether the layer starts frozen; `get_config` keeps it, so that a frozen model reloads frozen.
        **kwargs: `keras.layers.Layer` arguments.

    Raises:
        ValueError: for a `reference_size` below `minimum_reference_size`, and one other than that of the
            `PrependReference` before the layer in a functional model.
    """

    minimum_reference_size = 1

    # "begin" where a layer puts the reference rows into the batch, "end" where it takes them out.
    reference_role: str | None = None

    def __init__(self, reference_size: int, frozen: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        minimum = self.minimum_reference_size
        if isinstance(reference_size, bool) or not isinstance(reference_size, int) or reference_size < minimum:
            raise ValueError(
                f"{type(self).__name__} needs `reference_size`, the number of reference rows, to be an integer of at "
                f"least {minimum}. Received: reference_size={reference_size!r}"
            )
        self.reference_size = reference_size
        self.frozen = bool(frozen)

    @property
    def reference_rows(self) -> int:
        """How many rows at the start of the batch belong to the reference now: none when frozen."""
        return 0 if self.frozen else self.reference_size

    def check_batch_size(self, shape: Shape) -> None:
        """Raises a ValueError where a batch, if its size is known, has no example beside the reference rows."""
        # On JAX an unknown size is a symbol.
        if self.reference_rows and isinstance(shape[0], int) and shape[0] <= self.reference_rows:
            raise ValueError(
                f"Layer {self.name!r} ({type(self).__name__}) needs a batch larger than its "
                f"reference_size={self.reference_size} reference rows, which come first in it. "
                f"Received: input shape {tuple(shape)}"
            )

    def refuse_training(self, training: bool | None) -> None:
        """Raises a ValueError where a frozen layer is called with training=True."""
        # Statistics stored by `freeze_reference` go stale with the first update, and no gradient flows to them.
        if self.frozen and isinstance(training, bool) and training:
            raise ValueError(
                f"Layer {self.name!r} ({type(self).__name__}) is frozen and cannot be called with training=True. "
                "Call `igan_tf.layers.unfreeze_reference(model)` before training."
            )

    def open_reference(self) -> None:
        """Tells the layers after this one, in this call of the outermost model, that reference rows come first."""
        context = get_global_attribute("current_call_ctx")
        if context is not None:
            context.set_value(_PREPENDED, context.get_value(_PREPENDED, frozenset()) | {self.reference_size})

    def check_reference(self, shape: Shape) -> bool:
        """Raises a ValueError where no reference of this layer's size was prepended in the outermost model's call.

        Returns:
            Whether one was; False, too, where that cannot be known.
        """
        context = get_global_attribute("current_call_ctx")
        # Without a call there is no context; in a symbolic one, of a part of a model, nothing is computed. In a
        # stateless one, as of JAX's `fit`, Keras passes by the outermost `__call__`: each part has its own context.
        if context is None or in_symbolic_scope():
            return False
        if in_stateless_scope() and (keras.backend.backend() == "jax" or context.entry_layer is self):
            return False
        sizes = context.get_value(_PREPENDED, frozenset())
        if not sizes:
            raise ValueError(
                f"Layer {self.name!r} ({type(self).__name__}) has no reference batch: no PrependReference comes before "
                f"it in {context.entry_layer.name!r}, the outermost layer called, and the first rows of its input are "
                "examples. Put PrependReference in front, in one model with this layer, or say "
                "`external_reference=True` where the rows come from elsewhere. "
                f"Received: input shape {tuple(shape)}"
            )
        if self.reference_size not in sizes:
            raise ValueError(
                f"Layer {self.name!r} ({type(self).__name__}) must have the `reference_size` of the PrependReference "
                f"before it, {', '.join(map(str, sorted(sizes)))}. Received: reference_size={self.reference_size}"
            )
        return True

    def compute_output_spec(self, inputs: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        reference = upstream_reference(inputs)
        if (
            reference is not None
            and reference.reference_role == "begin"
            and reference.reference_size != self.reference_size
        ):
            raise ValueError(
                f"Layer {self.name!r} ({type(self).__name__}) must have the `reference_size` of the layer "
                f"{reference.name!r} that prepends the reference rows, {reference.reference_size}. "
                f"Received: reference_size={self.reference_size}"
            )
        return super().compute_output_spec(inputs, *args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"reference_size": self.reference_size, "frozen": self.frozen}


def outermost_layer() -> keras.layers.Layer | None:
    """The layer or model whose call all others of this moment are part of; None outside of a call."""
    context = get_global_attribute("current_call_ctx")
    return None if context is None else context.entry_layer


def upstream_reference(tensor: Tensor) -> ReferenceLayer | None:
    """Finds what happened last to the reference rows in symbolic `tensor`, as far as its functional model knows.

    Returns:
        The layer that put them in; where none did, one that took them out; None where neither is in this model.
    """
    pending, seen, ended = [tensor], set(), None
    while pending:
        history = getattr(pending.pop(), "_keras_history", None)
        if history is None or (id(history.operation), history.node_index) in seen:
            continue
        layer = history.operation
        seen.add((id(layer), history.node_index))
        role = getattr(layer, "reference_role", None)
        if role == "begin":
            return layer
        if role is None:
            pending.extend(layer._inbound_nodes[history.node_index].input_tensors)
        else:
            ended = layer
    return ended
