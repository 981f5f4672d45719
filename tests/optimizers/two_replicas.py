"""An optimizer under `MirroredStrategy`, for the tests of every optimizer."""

import keras

from igan_tf.training.distribution import mirrored_strategy


def train_on_two_replicas(make_optimizer, start, gradients):
    """Steps in which one replica has a quarter of each gradient and the other three quarters.

    Returns:
        The strategy, the float32 variable, which began at `start`, and the optimizer.
    """
    import tensorflow as tf

    strategy = mirrored_strategy()
    with strategy.scope():
        variable, optimizer = keras.Variable(start, dtype="float32"), make_optimizer()
        optimizer.build([variable])

    @tf.function
    def step(gradient):
        def replica_step():
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            # Exact shares but for their products' rounding.
            share = 0.25 + 0.5 * tf.cast(replica, tf.float32)
            optimizer.apply([share * gradient], [variable])

        strategy.run(replica_step)

    for gradient in gradients:
        step(tf.constant(gradient, tf.float32))
    return strategy, variable, optimizer
