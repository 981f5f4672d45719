"""What a training technique adds to the players' losses: the base class, and what a term may be computed from."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import keras


@dataclasses.dataclass(frozen=True)
class PlayerStep:
    """One update of one player, on this replica's batch.

    Attributes:
        variables: The player's trainable variables.
        real_images: The real images of the update, `(N, height, width, channels)`.
        real: Function of "logits" or "features": that output of the discriminator on the real images.
        generated: The same on the generated images.
        discriminate: Function of images that stand in place of the real ones: a dict of the discriminator's outputs on
            them, from a pass as the update's own, with noise on, in the joint batch where the model has one. Each call
            draws the same noise. What the pass would assign, such as moving averages, it leaves alone.
        gan_logit: Function of the discriminator's logits `(N, K)`: the logit of "real", `(N,)`.
    """

    variables: list[keras.Variable]
    real_images: Any
    real: Callable[[str], Any]
    generated: Callable[[str], Any]
    discriminate: Callable[[Any], dict[str, Any]]
    gan_logit: Callable[[Any], Any]


class Technique(keras.layers.Layer):
    """A weighted term in one or both players' losses, with the state that it needs.

    `loss <- loss + weight * term` for each term, which is logged, unweighted, under its name. A subclass overrides the
    methods below as it needs them, is registered with `keras.saving.register_keras_serializable`, and is handed to a
    model by `model.compile(..., techniques=[...])`. It is a layer for its weights' sake, which are saved with the model
    and are part of `model.state_variables()`; it is not called.

    ```python
    @keras.saving.register_keras_serializable("example")
    class LogitPenalty(Technique):
        def discriminator_terms(self, step):
            return {"logit_loss": ops.mean(ops.square(step.real("logits")))}
    ```

    Args:
        weight: Factor of the terms; the model leaves a technique of weight 0 out.
        name: Of the technique, unique in a model; None: the class's name, as `logit_penalty`.
        **kwargs: `keras.layers.Layer` arguments.

    Raises:
        ValueError: for a negative `weight`.
    """

    def __init__(self, weight: float, name: str | None = None, **kwargs: Any) -> None:
        if not weight >= 0:
            raise ValueError(f"`weight` of {type(self).__name__} must not be negative. Received: weight={weight}")
        super().__init__(name=name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower(), **kwargs)
        self.weight = weight

    def track(self, model: keras.Model) -> None:
        """Creates the state for `model.generator` and `model.discriminator`; the model's `compile` calls it."""

    def discriminator_terms(self, step: PlayerStep) -> dict[str, Any]:
        """Scalars by the names under which they are logged, to be added to the discriminator's loss."""
        return {}

    def generator_terms(self, step: PlayerStep) -> dict[str, Any]:
        """Scalars by the names under which they are logged, to be added to the generator's loss."""
        return {}

    def after_update(self, player: str, variables: list[keras.Variable]) -> None:
        """Called after each update of a player.

        Args:
            player: "discriminator" or "generator".
            variables: The player's trainable variables, updated.
        """
        # Not a docstring alone: AutoGraph cannot convert that.
        return None

    def restart(self, model: keras.Model) -> None:
        """Called when the variables have been set to new initial values: forgets the values before."""

    def state_groups(self) -> dict[str, list[keras.Variable]]:
        """The state by the names that it has in checkpoints, each name unique in a model."""
        return {self.name: self.variables} if self.variables else {}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weight": self.weight}
