"""The scaled loss of float16 on several replicas."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import ops

from igan_tf.types import Tensor


@keras.saving.register_keras_serializable("igan_tf")
class ReplicaLossScaleOptimizer(keras.optimizers.LossScaleOptimizer):
    """Computes Keras's `LossScaleOptimizer` so that all replicas decide alike whether a step is skipped.

    A step in which a gradient of any replica is not finite is skipped by all of them, and the scale of the loss is
    halved. Keras asks the first replica alone: an infinity on another one reaches every replica's weights with the sum.

    Args:
        **kwargs: `keras.optimizers.LossScaleOptimizer` arguments.

    ```python
    optimizer = ReplicaLossScaleOptimizer(keras.optimizers.SGD(0.1))
    ```

    Reference: [Micikevicius et al., 2018](https://arxiv.org/abs/1710.03740).

    Differs from the original code: that knows float32 alone.
    """

    def check_finite(self, grads: Sequence[Tensor | None]) -> Tensor:
        finite = super().check_finite(grads)
        if keras.backend.backend() != "tensorflow":
            return finite
        import tensorflow as tf

        context = tf.distribute.get_replica_context()
        if context is None or context.num_replicas_in_sync == 1:
            return finite
        others = ops.cast(ops.logical_not(finite), "float32")
        return ops.equal(context.all_reduce(tf.distribute.ReduceOp.SUM, others), 0)
