"""An infinity on one replica: all skip the step, whichever it is."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("tf.distribute needs the TensorFlow backend", allow_module_level=True)

import tensorflow as tf

from igan_tf.optimizers import ReplicaLossScaleOptimizer
from igan_tf.training.distribution import mirrored_strategy


@pytest.mark.parametrize("at", [0, 1, None])
def test_all_replicas_skip_a_step_that_is_not_finite_on_one(at):
    strategy = mirrored_strategy()
    with strategy.scope():
        variable = keras.Variable(np.ones(2), dtype="float32")
        optimizer = ReplicaLossScaleOptimizer(keras.optimizers.SGD(1.0), initial_scale=8.0)
        optimizer.build([variable])

    def replica_step():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        gradient = tf.where(replica == (-1 if at is None else at), np.inf, 8.0)
        optimizer.apply([gradient * tf.ones(2)], [variable])

    tf.function(lambda: strategy.run(replica_step), autograph=False)()
    for copy in variable.value.values:
        np.testing.assert_array_equal(copy.numpy(), np.ones(2) if at is not None else -np.ones(2))
    assert optimizer.dynamic_scale.numpy() == (8 if at is None else 4)
    assert optimizer.iterations.numpy() == (at is None)


def test_on_one_device_it_is_kerass():
    variable = keras.Variable(np.ones(2), dtype="float32")
    optimizer = ReplicaLossScaleOptimizer(keras.optimizers.SGD(1.0), initial_scale=8.0)
    for gradient in (8.0, np.inf):
        optimizer.apply([tf.fill((2,), gradient)], [variable])
    assert variable.numpy().tolist() == [0, 0] and optimizer.dynamic_scale.numpy() == 4


def test_config_round_trip():
    optimizer = ReplicaLossScaleOptimizer(keras.optimizers.SGD(0.5), initial_scale=8.0)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert type(again) is ReplicaLossScaleOptimizer and again.get_config() == optimizer.get_config()
