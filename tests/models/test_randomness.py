"""Randomness as a function of (seed, step, replica), and the scope in which a network draws from a key."""

import keras
import numpy as np
import tensorflow as tf

from igan_tf.layers import TableGaussianNoise
from igan_tf.models.randomness import at_step, drawing_from, fold_in, given_step, is_seed_state, step_key
from igan_tf.training.distribution import mirrored_strategy


def key_of(*arguments):
    return tuple(step_key(*arguments).numpy().tolist())


def noisy_model():
    inputs = keras.Input((100,))
    first = TableGaussianNoise(1.0, seed=1)(inputs)
    inner = keras.Sequential([keras.Input((100,)), keras.layers.GaussianNoise(1.0, seed=1)])
    return keras.Model(inputs, [first, inner(inputs), keras.layers.GaussianDropout(0.5, seed=1)(inputs + 1)])


def draw(model, key):
    with drawing_from(model, key):
        return [output.numpy() for output in model(tf.zeros((4, 100)), training=True)]


def test_step_keys():
    assert step_key(0, 0).shape == (2,)
    assert key_of(3, 7) == key_of(3, 7) == key_of(3, tf.constant(7, tf.int64))
    keys = {key_of(seed, step) for seed in range(10) for step in range(50)}
    assert len(keys) == 500
    assert key_of(0, 2**31 - 1) != key_of(0, 0)


def test_the_step_is_the_callers_where_it_gives_one():
    assert given_step(3) == 3
    with at_step(5):
        assert given_step(3) == 5
        with at_step(0):
            assert given_step(3) == 0
        assert given_step(3) == 5
    assert given_step(3) == 3


def test_folded_keys_differ():
    key = step_key(0, 0)
    assert len({tuple(fold_in(key, number).numpy().tolist()) for number in range(100)}) == 100


def test_replicas_have_keys_of_their_own():
    strategy = mirrored_strategy()
    run = tf.function(lambda: strategy.run(lambda: step_key(3, 7)))
    first, second = (tuple(key.numpy().tolist()) for key in strategy.experimental_local_results(run()))
    assert first != second
    # The first replica's is the single device's.
    assert first == key_of(3, 7)


def test_a_key_decides_what_is_drawn():
    model = noisy_model()
    first, again, other = (draw(model, step_key(0, step)) for step in (1, 1, 2))
    for values, same, different in zip(first, again, other):
        np.testing.assert_array_equal(values, same)
        assert np.mean(values == different) < 0.01
    # Equal in another model, whose seed generators are at another point.
    copy = noisy_model()
    copy(tf.zeros((4, 100)), training=True)
    for values, same in zip(first, draw(copy, step_key(0, 1))):
        np.testing.assert_array_equal(values, same)


def test_layers_draw_independently_of_each_other():
    first, second, third = draw(noisy_model(), step_key(0, 0))
    for one, other in ((first, second), (first, third - 1), (second, third - 1)):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(first.size)


def test_seed_generators_stay_as_they_are():
    model = noisy_model()
    states = [variable for variable in model.variables if is_seed_state(variable)]
    assert len(states) == 3
    before = [state.numpy() for state in states]
    draw(model, step_key(0, 0))
    for state, value in zip(states, before):
        np.testing.assert_array_equal(state.numpy(), value)
    # Outside the scope they move, so that the comparison above means something.
    model(tf.zeros((4, 100)), training=True)
    assert any(np.any(state.numpy() != value) for state, value in zip(states, before))


def test_other_assignments_arrive():
    """Moving averages are updated inside the scope, as by a call outside it."""
    inputs = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    inside, outside = (keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization()]) for _ in range(2))
    for _ in range(2):
        with drawing_from(inside, step_key(0, 0)):
            inside(inputs, training=True)
        outside(inputs, training=True)
    for found, expected in zip(inside.get_weights(), outside.get_weights()):
        np.testing.assert_array_equal(found, expected)
    assert np.any(inside.layers[0].moving_mean.numpy() != 0)


def test_a_model_without_randomness():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with drawing_from(model, step_key(0, 0)):
        outputs = model(tf.ones((1, 3)), training=True)
    np.testing.assert_array_equal(outputs.numpy(), model(tf.ones((1, 3))).numpy())
