"""`RunningError` against a recurrence in Python; tolerance 1e-6 for numbers from 0 to 1, a few roundings of float32."""

import keras
import numpy as np
import pytest
from keras import ops

from igan_tf.models.running_error import RunningError

tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow")


def oracle(values, window):
    """The mean of the first `window` values; then each further value moves it by a `window`-th of the difference."""
    averages = []
    for step, value in enumerate(values, start=1):
        if step <= window:
            averages.append(sum(values[:step]) / step)
        else:
            averages.append((1 - 1 / window) * averages[-1] + value / window)
    return averages


def values(count=30, seed=0):
    return np.random.default_rng(seed).random(count).astype("float32").tolist()


def run(error, values):
    return [float(ops.convert_to_numpy(error(ops.convert_to_tensor(value, dtype="float32")))) for value in values]


@pytest.mark.parametrize("window", [1, 2, 7, 30, 100])
def test_every_average_equals_the_oracle(window):
    error = RunningError(window)
    np.testing.assert_allclose(run(error, values()), oracle(values(), window), rtol=0, atol=1e-6)
    kept = float(ops.convert_to_numpy(error.average.value))
    np.testing.assert_allclose(kept, oracle(values(), window)[-1], rtol=0, atol=1e-6)


def test_by_default_the_window_is_the_published_one():
    """A true mean for the first 100 steps, then a decay of 0.99."""
    found = run(RunningError(), [0.0] * 50 + [1.0] * 50 + [0.0])
    np.testing.assert_allclose(found[99:], [0.5, 0.99 * 0.5], rtol=1e-5)


def test_it_follows_the_last_values():
    """The first ones' weight after 6 windows is e^-6 or so."""
    found = run(RunningError(10), [1.0] * 40 + [0.25] * 60)
    assert found[39] == 1 and abs(found[-1] - 0.25) < 0.75 * 0.9**60 + 1e-6


def test_whole_numbers_are_values_too():
    error = RunningError()
    found = [float(ops.convert_to_numpy(error(ops.convert_to_tensor(value)))) for value in (1, 0, 1)]
    np.testing.assert_allclose(found, [1, 1 / 2, 2 / 3], rtol=1e-6)


def test_its_state_is_not_trained_and_can_be_taken_up():
    first, second = RunningError(5), RunningError(5)
    assert not first.trainable_weights
    assert [(weight.name, tuple(weight.shape)) for weight in first.weights] == [("average", ()), ("count", ())]
    run(first, values()[:3])
    second.set_weights(first.get_weights())
    expected = oracle(values(), 5)[3:]
    np.testing.assert_allclose(run(second, values()[3:]), expected, rtol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float64"])
def test_the_global_policy_does_not_matter(policy):
    """In bfloat16 a hundredth of a change of a tenth is rounded away, and the average stands still."""
    before, numbers = keras.config.dtype_policy(), [0.9] * 100 + [0.8] * 200
    try:
        keras.config.set_dtype_policy(policy)
        error = RunningError()
        found = run(error, numbers)
    finally:
        keras.config.set_dtype_policy(before)
    assert error.average.dtype == "float32"
    # Up to 300 roundings.
    np.testing.assert_allclose(found, oracle(numbers, 100), rtol=1e-5)


@tensorflow_only
def test_graph_equals_eager():
    import tensorflow as tf

    error = RunningError(4)
    step = tf.function(error)
    found = [float(step(tf.constant(value))) for value in values()]
    np.testing.assert_allclose(found, oracle(values(), 4), rtol=1e-6)


@tensorflow_only
def test_the_average_is_over_all_replicas():
    import tensorflow as tf

    from igan_tf.training.distribution import mirrored_strategy

    strategy, batches = mirrored_strategy(), [values(seed=1), values(seed=2)]
    with strategy.scope():
        error = RunningError(5)

    @tf.function
    def step(index):
        def replica_step():
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            return error(tf.constant(batches)[replica, index])

        return strategy.run(replica_step)

    expected = oracle(np.mean(batches, axis=0).tolist(), 5)
    for index, average in enumerate(expected):
        returned = strategy.experimental_local_results(step(tf.constant(index)))
        # Each replica returns its part of it; the training step's logs are the mean of the replicas'.
        np.testing.assert_allclose(np.mean([float(part) for part in returned]), average, rtol=1e-5)
        kept = strategy.experimental_local_results(error.average.value)
        assert len(kept) == 2
        np.testing.assert_allclose([float(copy) for copy in kept], average, rtol=1e-5)
    counts = strategy.experimental_local_results(error.count.value)
    assert [int(count) for count in counts] == [5, 5]


def test_config():
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(RunningError(7, name="error")))
    assert type(copy) is RunningError and (copy.window, copy.name, copy.compute_dtype) == (7, "error", "float32")
    assert keras.saving.get_registered_name(RunningError) == "igan_tf>RunningError"
    assert RunningError().window == 100


@pytest.mark.parametrize("window", [0, -1])
def test_refused_window(window):
    with pytest.raises(ValueError, match=rf"`window` must be at least 1\. Received: window={window}"):
        RunningError(window)
