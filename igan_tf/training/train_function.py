"""One training step as a function of a batch: on all replicas, with as little to say to the host as there can be."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from igan_tf.models.adversarial_model import AdversarialModel
from igan_tf.models.randomness import at_step


class TrainFunction:
    """Runs `model.train_step` on every replica; returns means over the replicas.

    What the host says goes in as tensors on the host, and what it hears comes out as one vector, so that it can read a
    step's losses while the devices are at the next step. The number of steps so far comes from the host: a variable
    of a GPU would have to be waited for before anything random is drawn.

    Args:
        model: The compiled model.
        strategy: A `tf.distribute.Strategy`.
        jit_compile: Whether XLA compiles the step; of several replicas, the computation of the gradients.

    Attributes:
        log_names: Of the vector's entries but the last; known once the function has been traced.
        function: The `tf.function` of a batch, the number of steps so far and whether to stop.
    """

    def __init__(self, model: AdversarialModel, strategy: tf.distribute.Strategy, jit_compile: bool) -> None:
        self.log_names: list[str] = []
        several = strategy.num_replicas_in_sync > 1
        compile_all, model.compile_gradients = jit_compile and not several, jit_compile and several

        def replica_step(batch: Any, step: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
            # In the replica: each has a thread of its own.
            with at_step(step):
                logs = model.train_step(batch)
            self.log_names = list(logs)
            vector = tf.stack([tf.cast(value, tf.float32) for value in (*logs.values(), stop)])
            if not several:
                return vector
            # Among the devices: a reduction outside of the replicas would take all vectors to one of them.
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, vector)

        def run(batch: Any, step: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
            return strategy.experimental_local_results(strategy.run(replica_step, args=(batch, step, stop)))[0]

        # No Python branch hangs on a tensor: AutoGraph would only take a second to read the sources.
        self.function = tf.function(run, jit_compile=compile_all, reduce_retracing=True, autograph=False)

    def __call__(self, batch: Any, step: int, stop: bool) -> tf.Tensor:
        """Runs one step; does not wait for its end.

        Args:
            batch: Of one replica, or distributed over several.
            step: The number of steps so far.
            stop: Whether this worker asks all to stop.

        Returns:
            Vector of the means over all replicas of the step's logs, and of whether to stop.
        """
        return self.function(batch, *self.arguments(step, stop))

    @staticmethod
    def arguments(step: int, stop: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """What the function takes beside a batch, on the host."""
        with tf.device("CPU:0"):
            return tf.constant(step, tf.int64), tf.constant(float(stop))
