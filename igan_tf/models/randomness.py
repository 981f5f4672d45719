"""Randomness as a function of a key, so that nothing random needs saving and every replica draws its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf


def is_seed_state(variable: keras.Variable) -> bool:
    """Tells whether a Keras variable is the state of a seed generator."""
    return variable.name == "seed_generator_state"


def step_key(seed: int, step: tf.Tensor) -> tf.Tensor:
    """Returns the key of one training step on this replica: `(2,)`, a function of seed, step and replica alone.

    Folding the replica's number in matters: a Keras seed generator would give all replicas the same noise.
    """
    key = tf.random.experimental.stateless_fold_in(tf.constant([seed, 0], tf.int32), tf.cast(step, tf.int32))
    context = tf.distribute.get_replica_context()
    replica = 0 if context is None else context.replica_id_in_sync_group
    return tf.random.experimental.stateless_fold_in(key, tf.cast(replica, tf.int32))


def fold_in(key: tf.Tensor, number: int | tf.Tensor) -> tf.Tensor:
    """Returns a key that is a function of `key` and `number`."""
    return tf.random.experimental.stateless_fold_in(key, tf.cast(number, tf.int32))


@contextlib.contextmanager
def drawing_from(model: keras.Model, key: tf.Tensor, assign: bool = True) -> Iterator[None]:
    """Makes every random layer of `model` draw from `key` in this scope, not from its own seed generator's state.

    Args:
        model: Called in the scope.
        key: Of what is drawn.
        assign: Whether variables that a call assigns, such as moving averages, get their values when the scope ends.
            The seed generators' keep theirs.
    """
    variables = model.variables
    states = [variable for variable in variables if is_seed_state(variable)]
    mapping = []
    if states:
        seeds = tf.random.stateless_uniform((len(states), 2), key, minval=0, maxval=2**31 - 2, dtype=tf.int32)
        mapping = list(zip(states, tf.unstack(tf.cast(seeds, tf.int64))))
    with keras.StatelessScope(mapping) as scope:
        yield
    if not assign:
        return
    for variable in variables:
        if not is_seed_state(variable) and (value := scope.get_current_value(variable)) is not None:
            variable.assign(value)
