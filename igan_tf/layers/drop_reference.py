"""The end of the reference batch's way."""

import keras
from keras import ops

from igan_tf.layers.own_gradient import own_gradient
from igan_tf.layers.reference_layer import ReferenceLayer


@keras.saving.register_keras_serializable("igan_tf")
class DropReference(ReferenceLayer):
    """Drops the reference rows that `PrependReference` put in front of the examples.

    y = x[R:], with x (R + N, ...). Training and inference are alike; frozen (`freeze_reference`), y = x.

    Args:
        reference_size: number of reference rows, R.
        frozen: set by `freeze_reference`.

    Call arguments:
        inputs: the reference rows, then the examples.

    Input shape: (R + N, ...) with N >= 1; frozen: (N, ...).

    Output shape: (N, ...).

    Raises:
        ValueError: `reference_size` below 1; a batch of R rows or fewer; a `reference_size` other than that of the
            `PrependReference` before it in a functional model.

    Reference: arXiv:1606.03498, section 3.5.

    Differs from the original code: it has no such step, its reference never is in the batch.
    """

    reference_role = "end"

    def call(self, inputs):
        self.check_batch_size(inputs.shape)
        rows = self.reference_rows
        if not rows:
            return inputs

        # A slice's own gradient takes twice as long on TensorFlow.
        @own_gradient
        def drop(inputs):
            def gradient(upstream):
                zeros = ops.zeros((rows, *ops.shape(upstream)[1:]), dtype=upstream.dtype)
                return ops.concatenate([zeros, upstream], axis=0)

            return inputs[rows:], gradient

        return drop(inputs)

    def compute_output_shape(self, input_shape):
        self.check_batch_size(input_shape)
        batch = input_shape[0]
        return (None if batch is None else batch - self.reference_rows, *input_shape[1:])
