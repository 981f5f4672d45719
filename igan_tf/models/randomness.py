"""Randomness as a function of a key, so that nothing random needs saving and every replica draws its own."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.common.global_state import get_global_attribute, set_global_attribute

from igan_tf.models.replicas import Assignments, assign_together, collecting


def is_seed_state(variable: keras.Variable) -> bool:
    """Tells whether a Keras variable is the state of a seed generator."""
    return variable.name == "seed_generator_state"


# Keras's name for its own seed generator, one for each thread.
_GLOBAL = "global_seed_generator"
_given = threading.local()


@contextlib.contextmanager
def at_step(step: tf.Tensor) -> Iterator[None]:
    """Tells the models of this package, in this scope, how many steps there have been.

    A number on the host, which a training loop has anyhow, so that nothing random waits for a GPU's count.
    """
    before, _given.step = given_step(None), step
    try:
        yield
    finally:
        _given.step = before


def given_step(otherwise: Any) -> Any:
    """Returns the number of steps that the scope was told, or what is there otherwise."""
    step = getattr(_given, "step", None)
    return otherwise if step is None else step


def step_key(seed: int, step: tf.Tensor) -> tf.Tensor:
    """Returns the key of one training step on this replica: `(2,)`, a function of seed, step and replica alone.

    Keys are on the host, and so is what is derived from them, up to the seeds of the layers.

    Folding the replica's number in matters: a Keras seed generator would give all replicas the same noise.
    """
    context = tf.distribute.get_replica_context()
    replica = 0 if context is None else context.replica_id_in_sync_group
    # Where a variable is.
    step = tf.convert_to_tensor(step)
    with _on_host():
        key = fold_in(tf.constant([seed, 0], tf.int32), step)
        return fold_in(key, replica)


def fold_in(key: tf.Tensor, number: int | tf.Tensor) -> tf.Tensor:
    """Returns a key that is a function of `key` and `number`."""
    with _on_host():
        return tf.random.experimental.stateless_fold_in(key, tf.cast(number, tf.int32))


def _on_host() -> AbstractContextManager[Any]:
    """A scope whose operations run on the host: TensorFlow reads keys there, and would wait for those of a GPU."""
    return tf.device("CPU:0")


class _Draws:
    """Stands in for Keras's own seed generator, by which `keras.random.normal(shape)` draws in a user's layer."""

    def __init__(self, key: tf.Tensor) -> None:
        self._key, self._drawn = key, 0

    def next(self, ordered: bool = True) -> tf.Tensor:
        """Returns a seed: a function of the key and of how many came before."""
        self._drawn += 1
        key = fold_in(fold_in(self._key, 2**30), self._drawn)
        with _on_host():
            seed = tf.random.stateless_uniform((2,), key, minval=0, maxval=2**31 - 2, dtype=tf.int32)
            return tf.cast(seed, tf.int64)


@contextlib.contextmanager
def _unseeded_draws_by(draws: _Draws | None) -> Iterator[None]:
    """What Keras draws without a seed in this scope and thread comes from `draws`; None: from a fresh start."""
    before = get_global_attribute(_GLOBAL)
    set_global_attribute(_GLOBAL, draws)
    try:
        yield
    finally:
        set_global_attribute(_GLOBAL, before)


@contextlib.contextmanager
def random_state_kept() -> Iterator[None]:
    """Leaves the process's random state as it was, whatever is built in this scope."""
    before = random.getstate()
    try:
        with _unseeded_draws_by(None):
            yield
    finally:
        # Keras takes seeds of weights and layers from it.
        random.setstate(before)


@contextlib.contextmanager
def drawing_from(model: keras.Model, key: tf.Tensor, assign: bool | Assignments = True) -> Iterator[None]:
    """Makes every random layer of `model` draw from `key` in this scope, not from its own seed generator's state.

    So does what draws without a seed. A seed generator that is no layer's attribute stays as it is.

    Args:
        model: Called in the scope.
        key: Of what is drawn.
        assign: Whether variables that a call assigns, such as moving averages, get their values when the scope ends;
            a list gets them instead. The seed generators' keep theirs.
    """
    variables = model.variables
    states = [variable for variable in variables if is_seed_state(variable)]
    mapping = []
    if states:
        with _on_host():
            seeds = tf.random.stateless_uniform((len(states), 2), key, minval=0, maxval=2**31 - 2, dtype=tf.int32)
            mapping = list(zip(states, tf.unstack(tf.cast(seeds, tf.int64))))
    into = assign if isinstance(assign, list) else []
    with (
        _unseeded_draws_by(_Draws(key)),
        collecting([variable for variable in variables if not is_seed_state(variable)], into, mapping),
    ):
        yield
    if assign is True:
        assign_together(into)
