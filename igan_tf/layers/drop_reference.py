"""Removes the reference rows from a batch."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from igan_tf.layers.own_gradient import own_gradient
from igan_tf.layers.reference_layer import ReferenceLayer
from igan_tf.types import Shape, Tensor


@keras.saving.register_keras_serializable("igan_tf")
class DropReference(ReferenceLayer):
    """Removes the reference rows that `PrependReference` put in front of the examples.

        y = x[R:],    x (R + N, ...)

    Training and inference are alike, and nothing depends on the batch; frozen (`freeze_reference`), y = x.

    Args:
        reference_size: Number of reference rows, R.
        frozen: Set by `freeze_reference`.
        **kwargs: `keras.layers.Layer` arguments.

    Call arguments:
        inputs: The reference rows, then the examples.

    Input shape: `(R + N, ...)` with N >= 1; frozen: `(N, ...)`.

    Output shape: `(N, ...)`.

    Raises:
        ValueError: for `reference_size` below 1, a batch of R rows or fewer, and a `reference_size` other than that of
            the `PrependReference` before it in a functional model.

    ```python
    examples = DropReference(16)(np.zeros((16 + 2, 64)))      # (2, 64)
    ```

    Reference: arXiv:1606.03498, section 3.5.

    Differs from the original code: it has no such step; its reference is never in the batch.
    """

    reference_role = "end"

    def call(self, inputs: Tensor) -> Tensor:
        self.check_batch_size(inputs.shape)
        rows = self.reference_rows
        if not rows:
            return inputs

        # A slice's own gradient takes twice as long on TensorFlow.
        @own_gradient
        def drop(inputs: Tensor) -> Any:
            def gradient(upstream: Tensor) -> Tensor:
                zeros = ops.zeros((rows, *ops.shape(upstream)[1:]), dtype=upstream.dtype)
                return ops.concatenate([zeros, upstream], axis=0)

            return inputs[rows:], gradient

        return drop(inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        self.check_batch_size(input_shape)
        batch = input_shape[0]
        return (None if batch is None else batch - self.reference_rows, *input_shape[1:])
