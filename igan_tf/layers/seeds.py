"""Seed generators of layers with noise: seeds stay on the host, and replicas have their own where they should."""

from __future__ import annotations

import keras

from igan_tf.types import Tensor


class HostSeedGenerator(keras.random.SeedGenerator):
    """Gives Keras's seeds, without a GPU's help where the caller has set the state, as this package's models do.

    TensorFlow reads a seed on the host, whatever computes the noise: one that was taken out of a tensor on a GPU would
    be waited for. `drawing_from` derives the states on the host; here they stay there.
    """

    def next(self, ordered: bool = True) -> Tensor:
        if keras.backend.backend() != "tensorflow" or not self._state_is_given():
            return self._of_replica(super().next(ordered))
        import tensorflow as tf

        with tf.device("CPU:0"):
            seed = self._of_replica(super().next(ordered))
            # As Keras makes them 32 bits wide.
            return tf.cast(tf.math.floormod(seed, tf.int32.max - 1), tf.int32)

    def _state_is_given(self) -> bool:
        # Public in Keras is only the scope itself.
        from keras.src.backend.common.stateless_scope import get_stateless_scope

        scope = get_stateless_scope()
        return scope is not None and scope.get_current_value(self.state) is not None

    def _of_replica(self, seed: Tensor) -> Tensor:
        return seed


class ReplicaSeedGenerator(HostSeedGenerator):
    """Gives each replica of a `tf.distribute` strategy seeds of its own, the first one Keras's.

    Keras's `SeedGenerator` gives all replicas the same seeds, hence the same noise.
    """

    def _of_replica(self, seed: Tensor) -> Tensor:
        if keras.backend.backend() != "tensorflow":
            return seed
        import tensorflow as tf

        context = tf.distribute.get_replica_context()
        if context is None or context.num_replicas_in_sync == 1:
            return seed
        # A large odd step: replica r's seeds are not those of a neighbouring layer seeded r higher.
        step = tf.constant([0x3C6EF35F, 0], seed.dtype)
        return seed + tf.cast(context.replica_id_in_sync_group, seed.dtype) * step
