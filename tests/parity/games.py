"""Two games of the paper in which gradient descent fails: a player moves x to lower V(x, y), another y to raise it."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from keras import ops

from igan_tf.losses import HistoricalPenalty
from tests.layers.gradients import value_and_gradients


class Game(NamedTuple):
    """A game's value function, and how it is played."""

    value: Callable
    equilibrium: tuple[float, float]
    start: tuple[float, float]
    learning_rate: float
    weight: float  # of the penalty, for each player
    steps: int


def f(x):
    """x below 0 and x^2 above."""
    return ops.where(x < 0, x, x**2)


# Section 3's example of why gradient descent fails: it circles (0, 0).
PRODUCT = Game(lambda x, y: x * y, equilibrium=(0, 0), start=(1, 1), learning_rate=0.1, weight=0.2, steps=300)

# Section 3.3's, of which the paper says that historical averaging finds the equilibrium and gradient descent does not.
# The start is on the side where f is a line: the way leads over the bend at 0.
BENT = Game(
    lambda x, y: (f(x) - 1) * (y - 1), equilibrium=(1, 1), start=(-1, -1), learning_rate=0.04, weight=0.2, steps=400
)


def play(game, weight):
    """Simultaneous gradient descent of both players, each with its own historical averaging.

    Args:
        game: The game.
        weight: Factor of the penalties; 0.0 is plain simultaneous gradient descent.

    Returns:
        The points (x, y), the start first: `steps + 1` rows.
    """
    x, y = (np.array([value], "float32") for value in game.start)
    x_history, y_history = HistoricalPenalty(), HistoricalPenalty()
    x_history.track([x])
    y_history.track([y])
    path = [(x[0], y[0])]
    for _ in range(game.steps):
        opponents = {"x": ops.convert_to_tensor(x), "y": ops.convert_to_tensor(y)}

        def x_cost(x, y=opponents["y"]):
            return ops.sum(game.value(x, y)) + weight * x_history.penalty([x])

        def y_cost(y, x=opponents["x"]):
            return -ops.sum(game.value(x, y)) + weight * y_history.penalty([y])

        (x_gradient,), (y_gradient,) = value_and_gradients(x_cost, [x])[1], value_and_gradients(y_cost, [y])[1]
        x, y = x - game.learning_rate * x_gradient, y - game.learning_rate * y_gradient
        x_history.update([x])
        y_history.update([y])
        path.append((x[0], y[0]))
    return np.array(path)


def relative_distances(game, path):
    """Distance to the game's equilibrium at each step, in units of the start's."""
    distances = np.linalg.norm(path - np.array(game.equilibrium), axis=1)
    return distances / distances[0]
