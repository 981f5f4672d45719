"""The paper's game for historical averaging: one player moves x to minimise x * y, the other y to minimise -x * y."""

import numpy as np
from keras import ops

from igan_tf.losses import HistoricalPenalty
from tests.layers.gradients import value_and_gradients

START = (1.0, 1.0)
LEARNING_RATE = 0.1
WEIGHT = 0.2  # of the penalty, for each player
STEPS = 300


def play(weight, steps=STEPS):
    """Simultaneous gradient descent of both players from START, each with its own historical averaging.

    Args:
        weight: factor of the penalties; 0.0 is plain simultaneous gradient descent.
        steps: number of steps.

    Returns:
        `(steps + 1, 2)`, the points (x, y), the start first.
    """
    x, y = (np.array([value], "float32") for value in START)
    x_history, y_history = HistoricalPenalty(), HistoricalPenalty()
    x_history.track([x])
    y_history.track([y])
    path = [(x[0], y[0])]
    for _ in range(steps):
        opponents = {"x": ops.convert_to_tensor(x), "y": ops.convert_to_tensor(y)}

        def x_cost(x, y=opponents["y"]):
            return ops.sum(x * y) + weight * x_history.penalty([x])

        def y_cost(y, x=opponents["x"]):
            return -ops.sum(x * y) + weight * y_history.penalty([y])

        (x_gradient,), (y_gradient,) = value_and_gradients(x_cost, [x])[1], value_and_gradients(y_cost, [y])[1]
        x, y = x - LEARNING_RATE * x_gradient, y - LEARNING_RATE * y_gradient
        x_history.update([x])
        y_history.update([y])
        path.append((x[0], y[0]))
    return np.array(path)


def relative_distances(path):
    """Distance to the game's equilibrium (0, 0) at each step, in units of the start's."""
    distances = np.linalg.norm(path, axis=1)
    return distances / distances[0]
