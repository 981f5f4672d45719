"""What replicas assign together: means in one message, and what is equal on all without any."""

import keras
import numpy as np
import tensorflow as tf

from igan_tf.losses import HistoricalAveraging
from igan_tf.losses.historical_averaging import HistoricalPenalty
from igan_tf.models.parameter_average import ParameterAverage
from igan_tf.models.replicas import assign_together, collecting
from igan_tf.training.distribution import mirrored_strategy
from tests.models.dense_gan import batch_of, dense_gan


def variable(aggregation, shape=(), dtype="float32"):
    return keras.Variable(np.zeros(shape), dtype=dtype, trainable=False, aggregation=aggregation)


def local_values(one):
    """The value of every replica's copy."""
    return [copy.numpy() for copy in one.value.values]


def run_on_replicas(function):
    tf.function(lambda: mirrored_strategy().run(function), autograph=False)()


def test_means_over_replicas_and_the_first_replicas_values():
    with mirrored_strategy().scope():
        scalar, matrix, double = variable("mean"), variable("mean", (2, 3)), variable("mean", (2,), "float64")
        first = variable("only_first_replica", (2,))

    def assign():
        number = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.float32)
        values = [number, number * tf.ones((2, 3)), tf.cast(number, tf.float64) * [1.0, 1e-12], number * tf.ones(2) + 3]
        assign_together(list(zip((scalar, matrix, double, first), values)))

    run_on_replicas(assign)
    for one, expected in ((scalar, 0.5), (matrix, np.full((2, 3), 0.5)), (double, [0.5, 0.5e-12]), (first, [3, 3])):
        for found in local_values(one):
            np.testing.assert_array_equal(found, expected)


def test_on_one_device_variables_take_their_values():
    one, other = variable("mean"), variable("mean", (2,))
    assign_together([(one, tf.constant(2.0)), (other, tf.constant([1.0, 3.0]))])
    assert one.numpy() == 2 and other.numpy().tolist() == [1, 3]


def test_what_is_collected_is_not_assigned():
    one, other = variable("mean"), variable("mean")
    assignments = []
    with collecting([one, other], assignments):
        one.assign(5.0)
    assert [(each is one, float(value)) for each, value in assignments] == [(True, 5.0)] and one.numpy() == 0


def messages(graph):
    """The numbers that go from one device to another, but for the collective operations' own, tensor by tensor."""
    sent = {}
    for operation in graph.get_operations():
        for tensor in operation.inputs:
            places = tensor.device, operation.device
            if tensor.dtype != tf.resource and all(places) and places[0] != places[1]:
                sent[tensor.name, operation.device] = tensor.shape.num_elements()
    return list(sent.values())


def test_one_step_takes_one_collective_for_each_players_gradients_and_one_for_the_rest():
    """The rest: two moving statistics and the running error."""
    strategy = mirrored_strategy()
    with strategy.scope():
        model = dense_gan(techniques=[HistoricalAveraging(0.1)], generator_average_decay=0.9)
    step = tf.function(lambda: strategy.run(lambda: model.train_step(batch_of())), autograph=False)
    graph = step.get_concrete_function().graph
    kinds = [operation.type for operation in graph.get_operations()]
    assert kinds.count("CollectiveReduceV2") == 3 * strategy.num_replicas_in_sync
    # No parameter, and no mean of one, is sent: what is left are counts.
    assert max(messages(graph)) <= 4


def test_means_of_the_past_are_each_replicas_own():
    strategy = mirrored_strategy()
    with strategy.scope():
        theta = keras.Variable(np.arange(3.0), dtype="float32")
        history, average = HistoricalPenalty(), ParameterAverage(0.5)
        history.track([theta])
        average.track([theta])

    def update():
        history.update([theta])
        average.update([theta])

    for value in (1.0, 5.0):
        theta.assign(np.full(3, value))
        run_on_replicas(update)
    for found in local_values(history.means[0]):
        np.testing.assert_allclose(found, (np.arange(3.0) + 6) / 3, rtol=1e-6)
    for found in local_values(average.averages[0]):
        np.testing.assert_allclose(found, 0.5 * (0.5 * 1) + 0.5 * 5, rtol=1e-6)
    assert local_values(history.count) == [3, 3] and local_values(average.count) == [2, 2]
