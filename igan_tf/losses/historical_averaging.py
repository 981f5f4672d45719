"""Historical averaging: a player is held to the mean of its own past."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
from keras import backend, ops

from igan_tf.devices import assign_here
from igan_tf.losses.technique import PlayerStep, Technique
from igan_tf.precision import wide_dtype
from igan_tf.types import Tensor


@keras.saving.register_keras_serializable("igan_tf")
class HistoricalAveraging(Technique):
    """Adds to each player's loss the distance of its parameters from the mean of their past values.

        loss <- loss + weight * sum_v || theta_v - 1/t sum_{i=1..t} theta_v[i] ||^2

    for the player's variables theta_v; see `HistoricalPenalty`, of which each player has one. Logged as
    `discriminator_history_loss` and `generator_history_loss`.

    Args:
        weight: Factor of the penalties. The paper gives none.
        **kwargs: `Technique` arguments.

    Raises:
        ValueError: for a negative `weight`; from `compile` where another model's history is in it already.

    Not for layers that rewrite their own weights in a pass, as Keras's `SpectralNormalization` does: the term would
    then measure the rewriting.

    ```python
    model = SemiSupervisedGAN(digits.build_generator(), digits.build_discriminator())
    model.compile(InsideRootAdam(0.003), InsideRootAdam(0.003), techniques=[HistoricalAveraging(0.001)])
    ```

    Reference: arXiv:1606.03498, section 3.3.

    Differs from the original code: it has no such term.
    """

    def track(self, model: keras.Model) -> None:
        if any(getattr(model, name, None) is not history for name, history in self._attributes().items()):
            raise ValueError(
                "`techniques` must be of this model alone: make another for each model. "
                f"Received: {self.name}, which holds the history of another model"
            )
        self.histories = {}
        for player in ("discriminator", "generator"):
            self.histories[player] = history = HistoricalPenalty(name=f"{player}_history")
            history.track(getattr(model, player).trainable_variables)
            # An attribute of the model, too: files saved before there were techniques have the weights there.
            setattr(model, history.name, history)

    def discriminator_terms(self, step: PlayerStep) -> dict[str, Tensor]:
        return {"discriminator_history_loss": self.histories["discriminator"].penalty(step.variables)}

    def generator_terms(self, step: PlayerStep) -> dict[str, Tensor]:
        return {"generator_history_loss": self.histories["generator"].penalty(step.variables)}

    def after_update(self, player: str, variables: list[keras.Variable]) -> None:
        self.histories[player].update(variables)

    def restart(self, model: keras.Model) -> None:
        for player, history in self.histories.items():
            history.restart(getattr(model, player).trainable_variables)

    def state_groups(self) -> dict[str, list[keras.Variable]]:
        return {name: history.variables for name, history in self._attributes().items()}

    def _attributes(self) -> dict[str, HistoricalPenalty]:
        """The players' histories by their names as attributes of the model."""
        return {history.name: history for history in getattr(self, "histories", {}).values()}


@keras.saving.register_keras_serializable("igan_tf")
class HistoricalPenalty(keras.layers.Layer):
    """Keeps the running mean of one player's parameters, and computes their penalty.

        penalty = sum_v || theta_v - m_v ||^2,    m_v = 1/t sum_{i=1..t} theta_v[i]    (no gradient through m)

    theta_v is a variable of the player and m_v its mean over the past values, of the same shape, one each. theta[1]
    is the value at `track`: there m = theta and t = 1. Every `update` adds the value that the variables have then,
    m <- m + (theta - m) / (t + 1), t <- t + 1; so call it once after each step of the player's optimizer, and the
    mean runs over theta[1..t], the present value included, as in the paper. The cost is one copy of the parameters.

    It is a layer for its weights' sake, one for each player: as an attribute of the model that owns the player, its
    means are saved and restored with that model's weights (call `track` before they are loaded). It is not called.

    Distribution: under `MirroredStrategy` call `track` in the strategy's scope. `update` may be called in a replica's
    context: each replica updates its own copy of the means, from variables that are equal on all. The penalty is the
    same on every replica and scales as the rest of a replica's loss.

    Weights, none trainable: one mean a variable, in order, float32 (float64 for a float64 variable); then `count`, t.

    Raises:
        ValueError: for variables that are none, not floating, or not those of `track` in number and shapes; where
            `penalty` or `update` is called before `track`.

    ```python
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    variables = network.trainable_variables
    optimizer = keras.optimizers.Adam()
    optimizer.build(variables)
    history = HistoricalPenalty()
    history.track(variables)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network(tf.ones((1, 2)))) + 0.001 * history.penalty(variables)
    optimizer.apply(tape.gradient(loss, variables))
    history.update(variables)
    ```

    Reference: arXiv:1606.03498, section 3.3.

    Differs from the original code: it has no such term.
    """

    def track(self, variables: Sequence[Tensor]) -> None:
        """Creates the means, starting at the present values (t = 1).

        Not `build`: Keras would keep its arguments, the player's variables, as this layer's own weights.

        Args:
            variables: The player's variables, or tensors of their values.
        """
        variables = list(variables)
        if not variables:
            raise ValueError("`variables` must name at least one variable. Received: an empty list")
        for variable in variables:
            if not backend.is_float_dtype(variable.dtype):
                raise ValueError(
                    "`variables` must be floating, to have a mean. "
                    f"Received: {getattr(variable, 'name', variable)} of dtype {variable.dtype}"
                )
        # Replicas hold equal values after every update: the first's mean serves all.
        state = {"trainable": False, "autocast": False, "aggregation": "only_first_replica"}
        self.means = [
            self.add_weight(
                shape=tuple(variable.shape),
                initializer=_copy_of(variable),
                dtype=wide_dtype(variable.dtype),
                name=f"mean_{index}",
                **state,
            )
            for index, variable in enumerate(variables)
        ]
        self.count = self.add_weight(shape=(), initializer="ones", dtype="int", name="count", **state)
        self.built = True

    def penalty(self, variables: Sequence[Tensor]) -> Tensor:
        """Computes the sum over `variables` of the squared distance to their means: a scalar, in the means' dtype.

        Args:
            variables: The variables of `track`, or tensors of their values, in the same order.
        """
        values = self._values(variables)
        terms = [
            ops.sum(ops.square(value - ops.stop_gradient(ops.convert_to_tensor(mean))))
            for value, mean in zip(values, self.means)
        ]
        dtype = wide_dtype(*(mean.dtype for mean in self.means))
        return ops.sum(ops.stack([ops.cast(term, dtype) for term in terms]))

    def update(self, variables: Sequence[Tensor]) -> None:
        """Takes the present values of `variables` into the means.

        Args:
            variables: The variables of `track`, or tensors of their values, in the same order.
        """
        values = self._values(variables)
        count = ops.convert_to_tensor(self.count) + 1
        for value, mean in zip(values, self.means):
            present = ops.convert_to_tensor(mean)
            assign_here(mean, present + (ops.stop_gradient(value) - present) / ops.cast(count, present.dtype))
        assign_here(self.count, count)

    def restart(self, variables: Sequence[Tensor]) -> None:
        """Restarts the history from the present values, which become theta[1], as at `track`.

        Args:
            variables: The variables of `track`, or tensors of their values, in the same order.
        """
        for value, mean in zip(self._values(variables), self.means):
            mean.assign(value)
        self.count.assign(1)

    def _values(self, variables: Sequence[Tensor]) -> list[Tensor]:
        """The values in the means' dtypes, after a check that these are the variables of `track`."""
        if not self.built:
            raise ValueError("Call `track(variables)` first: this HistoricalPenalty has no means yet")
        variables = list(variables)
        found, expected = ([tuple(tensor.shape) for tensor in tensors] for tensors in (variables, self.means))
        if found != expected:
            raise ValueError(
                "`variables` must be those given to `track`, in the same order. "
                f"Received: shapes {found}, tracked {expected}"
            )
        return [ops.cast(ops.convert_to_tensor(variable), mean.dtype) for variable, mean in zip(variables, self.means)]


def _copy_of(variable: Tensor) -> Callable[..., Tensor]:
    """An initializer that copies the variable's value (on PyTorch the mean would share the variable's memory)."""
    return lambda shape, dtype=None: ops.copy(ops.cast(ops.convert_to_tensor(variable), dtype))
