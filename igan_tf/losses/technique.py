"""Training techniques: the base class of terms that they add to the players' losses."""

from __future__ import annotations

import dataclasses
import math
import numbers
import re
from collections.abc import Callable
from typing import Any

import keras

from igan_tf.types import Tensor


@dataclasses.dataclass(frozen=True)
class PlayerStep:
    """Holds what a term may be computed from: one update of one player, on this replica's batch.

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
    real_images: Tensor
    real: Callable[[str], Tensor]
    generated: Callable[[str], Tensor]
    discriminate: Callable[[Tensor], dict[str, Tensor]]
    gan_logit: Callable[[Tensor], Tensor]


class Technique(keras.layers.Layer):
    """Adds weighted terms to one or both players' losses, and holds the state that they need.

        loss <- loss + weight * term

    for each term, which is logged, unweighted, under its name. Override the methods below as needed, register the
    subclass with `keras.saving.register_keras_serializable`, and hand an instance to a model by
    `model.compile(..., techniques=[...])`. A technique is a layer for its weights' sake, which are saved with the model
    and are part of `model.state_variables()`; it is not called.

    Args:
        weight: Factor of the terms; the model leaves a technique of weight 0 out.
        name: Of the technique, unique in a model; None: the class's name, as `logit_penalty`.
        **kwargs: `keras.layers.Layer` arguments.

    Raises:
        ValueError: for a `weight` that is negative or not finite.

    ```python
    @keras.saving.register_keras_serializable("example")
    class LogitPenalty(Technique):
        def discriminator_terms(self, step):
            return {"logit_loss": ops.mean(ops.square(step.gan_logit(step.real("logits"))))}


    model = SemiSupervisedGAN(digits.build_generator(), digits.build_discriminator())
    model.compile(InsideRootAdam(0.003), InsideRootAdam(0.003), techniques=[LogitPenalty(0.01)])
    ```
    """

    def __init__(self, weight: float, name: str | None = None, **kwargs: Any) -> None:
        is_number = isinstance(weight, numbers.Real)
        if not is_number or not 0 <= weight < math.inf:
            raise ValueError(
                f"`weight` of {type(self).__name__} must not be negative, infinite or no number. "
                f"Received: weight={weight!r}"
            )
        super().__init__(name=name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower(), **kwargs)
        self.weight = weight
        # Keras's `fit` would otherwise call the model on its data, to build this layer.
        self.built = True

    def track(self, model: keras.Model) -> None:
        """Creates the state for `model.generator` and `model.discriminator`; the model's `compile` calls it."""

    def discriminator_terms(self, step: PlayerStep) -> dict[str, Tensor]:
        """Computes the terms of the discriminator's loss: scalars by the names under which they are logged."""
        return {}

    def generator_terms(self, step: PlayerStep) -> dict[str, Tensor]:
        """Computes the terms of the generator's loss: scalars by the names under which they are logged."""
        return {}

    def after_update(self, player: str, variables: list[keras.Variable]) -> None:
        """Takes a player's new values in; called after each of its updates.

        Args:
            player: "discriminator" or "generator".
            variables: The player's trainable variables, updated.
        """
        # Not a docstring alone: AutoGraph cannot convert that.
        return None

    def restart(self, model: keras.Model) -> None:
        """Forgets the players' past values; called when they have been initialized anew."""

    def state_groups(self) -> dict[str, list[keras.Variable]]:
        """Returns the state by the names that it has in checkpoints, each name unique in a model."""
        return {self.name: self.variables} if self.variables else {}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weight": self.weight}
