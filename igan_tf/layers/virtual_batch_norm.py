"""Virtual batch normalization."""

from __future__ import annotations

import contextlib
import contextvars
import weakref
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from igan_tf.layers.reference_layer import ReferenceLayer, outermost_layer, upstream_reference
from igan_tf.layers.row_statistics import row_moments, scale_rows, to_rows
from igan_tf.precision import wide_dtype
from igan_tf.types import Shape, Tensor

# Sentinel for unset statistics; variances are never negative.
UNSET = -1.0

# Layer -> list of (mean, variance), one pair a call, while `record_reference_statistics` is entered; else None.
_record: contextvars.ContextVar[dict[VirtualBatchNorm, list[tuple[Tensor, Tensor]]] | None] = contextvars.ContextVar(
    "igan_tf_reference_statistics", default=None
)


@keras.saving.register_keras_serializable("igan_tf")
class VirtualBatchNorm(ReferenceLayer):
    """Normalizes each example with the statistics of one fixed reference batch plus the example itself.

    The first R = `reference_size` rows of the batch are the reference rows, as `PrependReference` puts them there. A
    layer that is called with none of its size before it in the model refuses: it would take examples for the reference.
    With m, q (R + N, C) the means of x and of x^2 over each row's own positions (for rank 2, x and x^2 themselves),
    m_ref, q_ref (C,) the means of m[:R] and q[:R], new = 1 / (R + 1) and old = R / (R + 1), an example i has

        mean_i = new * m_i + old * m_ref                  variance_i = new * q_i + old * q_ref - mean_i^2
        y_i = gamma * (x_i - mean_i) / sqrt(variance_i + epsilon) + beta                gamma, beta: (C,)

    and a reference row is normalized with m_ref and q_ref - m_ref^2 alone. The variance is computed in a form that is
    equal but cannot be negative: with v_i, v_ref the variances, new * v_i + old * v_ref + new * old * (m_i - m_ref)^2.

    Training and inference are alike. An example's output does not depend on the other examples, hence not on the
    replica either: where the reference is the same on every replica, so is the layer. Gradients flow through the
    reference rows. Statistics are in float32 under mixed precision.

    After `freeze_reference(model)` there are no reference rows; m_ref and v_ref come from the weights
    `reference_mean` and `reference_variance`, which are set while the layer is frozen and at no other time. A frozen
    layer refuses training=True, refuses to load weights that were saved without statistics, and gives NaN if it has
    none.

    Args:
        reference_size: Number of reference rows, R.
        axis: The channel axis, any but the batch's.
        epsilon: Added to the variance.
        center: Whether to add `beta`.
        scale: Whether to multiply by `gamma`.
        gamma_initializer: Initializer of `gamma`; None is N(1, 0.02).
        beta_initializer: Initializer of `beta`.
        external_reference: Whether the reference rows come from elsewhere than a `PrependReference` in the same model,
            as where the model is called in parts; the first rows are then taken for them unchecked.
        frozen: Set by `freeze_reference`.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        inputs: Floating point tensor, the reference rows first.
        training: True is refused when frozen, otherwise without effect.

    Input shape: `(R + N, ..., C)` with N >= 1 (rank 2 or more, C at `axis`); frozen: `(N, ..., C)`.

    Output shape: that of the input.

    Raises:
        ValueError: for `reference_size` below 1, rank below 2, an `axis` that is no channel axis, a batch of R rows or
            fewer, a `reference_size` other than that of the `PrependReference` before it, and none before it: after
            `DropReference` in a functional model at once, otherwise where the outermost model is called.

    ```python
    z = keras.Input((100,))
    x = PrependReference(16)(z)                             # (N, 100) -> (16 + N, 100)
    x = VirtualBatchNorm(16)(keras.layers.Dense(64)(x))     # anywhere in between, any number of times
    generator = keras.Model(z, DropReference(16)(x))        # (16 + N, 64) -> (N, 64)
    ```

    Reference: arXiv:1606.03498, section 3.5.

    Differs from the original code: the reference travels in the batch, where the original runs every layer twice;
    the form of the variance, equal in exact arithmetic.
    """

    def __init__(
        self,
        reference_size: int,
        axis: int = -1,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        gamma_initializer: Any = None,
        beta_initializer: Any = "zeros",
        external_reference: bool = False,
        frozen: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(reference_size, frozen=frozen, **kwargs)
        if not epsilon > 0:
            raise ValueError(f"VirtualBatchNorm needs `epsilon` above 0. Received: epsilon={epsilon!r}")
        self.axis = axis
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        if gamma_initializer is None:
            gamma_initializer = keras.initializers.RandomNormal(mean=1.0, stddev=0.02)
        self.gamma_initializer = keras.initializers.get(gamma_initializer)
        self.beta_initializer = keras.initializers.get(beta_initializer)
        self.gamma = None
        self.beta = None
        self.external_reference = bool(external_reference)
        # Whether a PrependReference was found before it, in its functional model or in a call.
        self._prepended = False
        # The models whose functions have traced it, beside those that hold it in the model that is frozen.
        self.callers: weakref.WeakSet[keras.layers.Layer] = weakref.WeakSet()

    def build(self, input_shape: Shape) -> None:
        axis = self._channel_axis(input_shape)
        channels = input_shape[axis]
        if channels is None:
            raise ValueError(
                f"VirtualBatchNorm needs a known number of channels. Received: input shape {tuple(input_shape)}, "
                f"axis={self.axis}"
            )
        if self.scale:
            self.gamma = self.add_weight(
                shape=(channels,), initializer=self.gamma_initializer, name="gamma", autocast=False
            )
        if self.center:
            self.beta = self.add_weight(
                shape=(channels,), initializer=self.beta_initializer, name="beta", autocast=False
            )
        statistics = {
            "shape": (channels,),
            "dtype": wide_dtype(self.variable_dtype),
            "trainable": False,
            "autocast": False,
        }
        self.reference_mean = self.add_weight(name="reference_mean", initializer="zeros", **statistics)
        self.reference_variance = self.add_weight(
            name="reference_variance", initializer=keras.initializers.Constant(UNSET), **statistics
        )
        self.input_spec = keras.layers.InputSpec(ndim=len(input_shape), axes={axis: channels})

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        self.refuse_training(training)
        if not (self.frozen or self.external_reference or self._prepended):
            self._prepended = self.check_reference(inputs.shape)
        if (outermost := outermost_layer()) is not None:
            self.callers.add(outermost)
        self.check_batch_size(inputs.shape)
        axis = self._channel_axis(inputs.shape)
        x = ops.moveaxis(ops.cast(inputs, wide_dtype(inputs.dtype)), axis, -1)
        shape = ops.shape(x)
        x = to_rows(x)

        # All other statistics are (rows, channels) tensors.
        moments = row_moments(x)
        reference_mean, reference_variance = self._reference_statistics(moments)
        mean, variance = self._with_reference(moments, reference_mean, reference_variance)
        scale = ops.rsqrt(variance + self.epsilon)
        if self.scale:
            scale = scale * ops.cast(self.gamma, x.dtype)
        offset = -mean * scale
        if self.center:
            offset = offset + ops.cast(self.beta, x.dtype)
        outputs = ops.reshape(scale_rows(x, scale, offset), shape)
        return ops.cast(ops.moveaxis(outputs, -1, axis), inputs.dtype)

    def _reference_statistics(self, moments: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the whole reference batch, both (1, channels), from (2, rows, channels)."""
        if self.frozen:
            stored_variance = ops.expand_dims(ops.cast(self.reference_variance, moments.dtype), 0)
            stored_mean = ops.expand_dims(ops.cast(self.reference_mean, moments.dtype), 0)
            # NaN where nothing was stored, as in a clone of a frozen model without its weights.
            return ops.where(stored_variance < 0, float("nan"), stored_mean), stored_variance
        mean, variance = ops.unstack(moments[:, : self.reference_size], num=2)
        reference_mean = ops.mean(mean, axis=0, keepdims=True)
        reference_variance = ops.mean(variance + ops.square(mean - reference_mean), axis=0, keepdims=True)
        record = _record.get()
        if record is not None:
            record.setdefault(self, []).append((reference_mean[0], reference_variance[0]))
        return reference_mean, reference_variance

    def _with_reference(
        self, moments: Tensor, reference_mean: Tensor, reference_variance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance that normalize each row, both (rows, channels)."""
        rows = self.reference_rows
        new = 1.0 / (self.reference_size + 1)
        old = self.reference_size / (self.reference_size + 1)
        mean, variance = ops.unstack(moments[:, rows:] if rows else moments, num=2)
        difference = mean - reference_mean
        example_mean = new * mean + old * reference_mean
        example_variance = new * variance + old * reference_variance + new * old * ops.square(difference)
        if not rows:
            return example_mean, example_variance
        shape = (rows, mean.shape[1])
        return (
            ops.concatenate([ops.broadcast_to(reference_mean, shape), example_mean], axis=0),
            ops.concatenate([ops.broadcast_to(reference_variance, shape), example_variance], axis=0),
        )

    def store_reference(self, mean: Tensor, variance: Tensor) -> None:
        """Sets the statistics that the layer uses when frozen, both (channels,)."""
        self.reference_mean.assign(mean)
        self.reference_variance.assign(variance)

    def forget_reference(self) -> None:
        """Unsets the stored statistics: those of a layer that is not frozen would go stale."""
        if self.built:
            shape = tuple(self.reference_mean.shape)
            self.store_reference(np.zeros(shape), np.full(shape, UNSET))

    def load_own_variables(self, store: dict[str, Any]) -> None:
        # The statistics are the last weight, whatever `center` and `scale` are.
        last = str(len(self.weights) - 1)
        if self.frozen and last in store and (np.asarray(store[last]) < 0).any():
            raise ValueError(
                f"Layer {self.name!r} (VirtualBatchNorm) is frozen, but the weights to load were saved from a model "
                "that was not and hold no reference statistics. Call `igan_tf.layers.unfreeze_reference(model)`, load, "
                "then freeze."
            )
        super().load_own_variables(store)
        if not self.frozen:
            self.forget_reference()

    def _channel_axis(self, shape: Shape) -> int:
        rank = len(shape)
        if rank < 2:
            raise ValueError(f"VirtualBatchNorm needs inputs of rank 2 or more. Received: input shape {tuple(shape)}")
        axis = self.axis + rank if self.axis < 0 else self.axis
        if not 0 < axis < rank:
            raise ValueError(
                f"VirtualBatchNorm needs `axis` to be one of the input's axes other than the batch axis 0. "
                f"Received: axis={self.axis} for input shape {tuple(shape)}"
            )
        return axis

    def compute_output_spec(self, inputs: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        reference = upstream_reference(inputs)
        if reference is not None and reference.reference_role == "end" and not self.external_reference:
            raise ValueError(
                f"Layer {self.name!r} (VirtualBatchNorm) must stand before {reference.name!r}, which removes the "
                f"reference rows, or after another PrependReference. Received: inputs={inputs}"
            )
        self._prepended = self._prepended or reference is not None
        return super().compute_output_spec(inputs, *args, **kwargs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        self._channel_axis(input_shape)
        self.check_batch_size(input_shape)
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "axis": self.axis,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "gamma_initializer": keras.initializers.serialize(self.gamma_initializer),
            "beta_initializer": keras.initializers.serialize(self.beta_initializer),
            "external_reference": self.external_reference,
        }


@contextlib.contextmanager
def record_reference_statistics() -> Iterator[dict[VirtualBatchNorm, list[tuple[Tensor, Tensor]]]]:
    """Yields a dict that receives each `VirtualBatchNorm` called inside, with the reference statistics of each call."""
    record: dict[VirtualBatchNorm, list[tuple[Tensor, Tensor]]] = {}
    token = _record.set(record)
    try:
        yield record
    finally:
        _record.reset(token)
