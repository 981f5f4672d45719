"""Variables that replicas assign together: as few, and as small, messages between devices as there can be."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from igan_tf.devices import assign_here
from igan_tf.precision import wide_dtype
from igan_tf.types import Tensor

# Variables with the values that they are to take.
Assignments: TypeAlias = list[tuple[keras.Variable, Tensor]]


@contextlib.contextmanager
def collecting(variables: Sequence[keras.Variable], into: Assignments, states: Any = ()) -> Iterator[None]:
    """Keeps what is assigned to `variables` in this scope from them, and puts it into a list when the scope ends.

    Args:
        variables: Those whose new values are wanted.
        into: Gets them; see `assign_together`.
        states: Pairs of variables and the values that they have in the scope.
    """
    with keras.StatelessScope(states) as scope:
        yield
    values = ((variable, scope.get_current_value(variable)) for variable in variables)
    into += [(variable, value) for variable, value in values if value is not None]


def assign_together(assignments: Assignments) -> None:
    """Gives variables their values, means over replicas in one message instead of one for each variable."""
    context = tf.distribute.get_replica_context()
    several = context is not None and context.num_replicas_in_sync > 1
    means = [(variable, value) for variable, value in assignments if several and variable.aggregation == "mean"]
    if means:
        dtype = wide_dtype(*(variable.dtype for variable, _ in means))
        flat = tf.concat([tf.reshape(tf.cast(value, dtype), [-1]) for _, value in means], 0)
        sizes = [math.prod(variable.shape) for variable, _ in means]
        for (variable, _), value in zip(means, tf.split(context.all_reduce(tf.distribute.ReduceOp.MEAN, flat), sizes)):
            assign_here(variable, tf.reshape(value, variable.shape))
    for variable, value in assignments:
        if not (several and variable.aggregation == "mean"):
            variable.assign(value)
