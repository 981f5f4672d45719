"""Historical averaging: a player is held to the mean of its own past."""

from __future__ import annotations

from typing import Any

import keras
from keras import backend, ops

from igan_tf.losses.technique import PlayerStep, Technique


@keras.saving.register_keras_serializable("igan_tf")
class HistoricalAveraging(Technique):
    """Adds to each player's loss the distance of its parameters from the mean of their past values.

        loss <- loss + weight * sum_v || theta_v - 1/t sum_{i=1..t} theta_v[i] ||^2

    for the player's variables theta_v; see `HistoricalPenalty`, of which each player has one. Logged as
    `discriminator_history_loss` and `generator_history_loss`.

    ```python
    model.compile(optimizer, other_optimizer, techniques=[HistoricalAveraging(0.001)])
    ```

    Args:
        weight: Factor of the penalties. The paper gives none.
        **kwargs: `Technique` arguments.

    Raises:
        ValueError: for a negative `weight`.

    Reference:
        arXiv:1606.03498, section 3.3. Differs from the original code: that has no such term.
    """

    def track(self, model: keras.Model) -> None:
        self.histories = {}
        for player in ("discriminator", "generator"):
            self.histories[player] = history = HistoricalPenalty(name=f"{player}_history")
            history.build(getattr(model, player).trainable_variables)
            # Where files of saved models have had these weights before there were techniques.
            setattr(model, history.name, history)

    def discriminator_terms(self, step: PlayerStep) -> dict[str, Any]:
        return {"discriminator_history_loss": self.histories["discriminator"].penalty(step.variables)}

    def generator_terms(self, step: PlayerStep) -> dict[str, Any]:
        return {"generator_history_loss": self.histories["generator"].penalty(step.variables)}

    def after_update(self, player: str, variables: list[keras.Variable]) -> None:
        self.histories[player].update(variables)

    def restart(self, model: keras.Model) -> None:
        for player, history in self.histories.items():
            history.restart(getattr(model, player).trainable_variables)

    def state_groups(self) -> dict[str, list[keras.Variable]]:
        return {history.name: history.variables for history in self.histories.values()}


@keras.saving.register_keras_serializable("igan_tf")
class HistoricalPenalty(keras.layers.Layer):
    """The historical averaging penalty of one player, and the running mean that it needs.

        penalty = sum_v || theta_v - m_v ||^2,    m_v = 1/t sum_{i=1..t} theta_v[i]    (no gradient through m)

    theta_v is a variable of the player and m_v its mean over the past values, of the same shape, one each. theta[1]
    is the value at `build`: there m = theta and t = 1. Every `update` adds the value that the variables have then,
    m <- m + (theta - m) / (t + 1), t <- t + 1; so call it once after each step of the player's optimizer, and the
    mean runs over theta[1..t], the present value included, as in the paper. The cost is one copy of the parameters.

    It is a layer for its weights' sake: as an attribute of the model that owns the player, its means are saved and
    restored with that model's weights (build it before they are loaded). It is not called. One instance a player:

        self.generator_history = HistoricalPenalty()                                 # in __init__
        self.generator_history.build(generator.trainable_variables)                  # when the generator is built
        loss += weight * self.generator_history.penalty(generator.trainable_variables)
        self.generator_history.update(generator.trainable_variables)                 # after optimizer.apply(...)

    Distribution: under `MirroredStrategy` build it in the strategy's scope. `update` may be called in a replica's
    context (the first replica's mean is given to all), but not inside a `tf.cond` or `tf.while_loop` there. The
    penalty is the same on every replica and scales as the rest of a replica's loss.

    Weights, none trainable: one mean a variable, in order, float32 (float64 for a float64 variable); then `count`, t.

    Raises:
        ValueError: if the variables are none, not floating, or not those of `build` in number and shapes; or if
            `penalty` or `update` is called before `build`.

    Reference:
        arXiv:1606.03498, section 3.3. Differs from the original code: that has no such term.
    """

    def build(self, variables):
        """Creates the means, starting at the present values (t = 1).

        Args:
            variables: the player's variables, or tensors of their values. A `keras.KerasTensor` stands for a variable
                whose value is not known yet (its mean starts at 0, to be loaded).
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
        self.means = [
            self.add_weight(
                shape=tuple(variable.shape),
                initializer=_starts_at(variable),
                dtype=_mean_dtype(variable),
                trainable=False,
                autocast=False,
                aggregation="only_first_replica",
                name=f"mean_{index}",
            )
            for index, variable in enumerate(variables)
        ]
        self.count = self.add_weight(
            shape=(),
            initializer="ones",
            dtype="int",
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name="count",
        )

    def penalty(self, variables):
        """Sum over `variables` of the squared distance to their means: a scalar, in the means' dtype.

        Args:
            variables: the variables of `build`, or tensors of their values, in the same order.
        """
        values = self._values(variables)
        terms = [
            ops.sum(ops.square(value - ops.stop_gradient(ops.convert_to_tensor(mean))))
            for value, mean in zip(values, self.means)
        ]
        dtype = "float64" if any(mean.dtype == "float64" for mean in self.means) else "float32"
        return ops.sum(ops.stack([ops.cast(term, dtype) for term in terms]))

    def update(self, variables):
        """Takes the present values of `variables` into the means.

        Args:
            variables: the variables of `build`, or tensors of their values, in the same order.
        """
        values = self._values(variables)
        count = ops.convert_to_tensor(self.count) + 1
        for value, mean in zip(values, self.means):
            present = ops.convert_to_tensor(mean)
            mean.assign(present + (ops.stop_gradient(value) - present) / ops.cast(count, present.dtype))
        self.count.assign(count)

    def restart(self, variables):
        """Forgets the past: the present values become theta[1], as at `build`.

        Args:
            variables: the variables of `build`, or tensors of their values, in the same order.
        """
        for value, mean in zip(self._values(variables), self.means):
            mean.assign(value)
        self.count.assign(1)

    def get_build_config(self):
        if not self.built:
            return None
        return {
            "shapes": [list(mean.shape) for mean in self.means],
            "dtypes": [backend.standardize_dtype(mean.dtype) for mean in self.means],
        }

    def build_from_config(self, config):
        if config:
            self.build(
                [keras.KerasTensor(tuple(shape), dtype) for shape, dtype in zip(config["shapes"], config["dtypes"])]
            )

    def __setattr__(self, name, value):
        # Keras notes the arguments of `build` in this attribute. Noted as they are, the player's variables would count
        # as this layer's own weights, and be saved and trained with it.
        super().__setattr__(name, None if name == "_build_shapes_dict" else value)

    def _values(self, variables):
        """The values in the means' dtypes, after a check that these are the variables of `build`."""
        if not self.built:
            raise ValueError("Call `build(variables)` first: this HistoricalPenalty has no means yet")
        variables = list(variables)
        found, expected = ([tuple(tensor.shape) for tensor in tensors] for tensors in (variables, self.means))
        if found != expected:
            raise ValueError(
                "`variables` must be those given to `build`, in the same order. "
                f"Received: shapes {found}, built for {expected}"
            )
        return [ops.cast(ops.convert_to_tensor(variable), mean.dtype) for variable, mean in zip(variables, self.means)]


def _mean_dtype(variable):
    return "float64" if backend.standardize_dtype(variable.dtype) == "float64" else "float32"


def _starts_at(variable):
    """An initializer that copies the variable's value (on PyTorch the mean would share the variable's memory)."""
    if isinstance(variable, keras.KerasTensor):
        return "zeros"
    return lambda shape, dtype=None: ops.copy(ops.cast(ops.convert_to_tensor(variable), dtype))
