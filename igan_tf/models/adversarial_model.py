"""The base of this package's GANs: two networks, and an optimizer for each."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from igan_tf.errors import InputError
from igan_tf.layers import VirtualBatchNorm
from igan_tf.losses import FeatureMatching, HistoricalAveraging, PlayerStep, Technique
from igan_tf.losses.semi_supervised import mean_of_labelled
from igan_tf.models.parameter_average import ParameterAverage
from igan_tf.models.randomness import drawing_from, fold_in, given_step, is_seed_state, step_key
from igan_tf.models.replicas import Assignments
from igan_tf.models.sampling import LatentSampling
from igan_tf.models.user_data import UserData, as_images
from igan_tf.optimizers import ReplicaLossScaleOptimizer

# Arguments of `compile` in files saved before they became techniques, in the order in which their terms were added.
_FORMER_ARGUMENTS = {"feature_matching": FeatureMatching, "historical_averaging": HistoricalAveraging}

# What models keep in checkpoints beside the techniques' state.
_OWN_GROUPS = (
    *("generator", "discriminator", "generator_optimizer", "discriminator_optimizer"),
    *("generator_average", "discriminator_average", "running_error"),
)


def named_variables(groups: Mapping[str, Sequence[keras.Variable]]) -> dict[str, keras.Variable]:
    """The variables of each group by name, `group/number`, without the states of seed generators."""
    return {
        f"{group}/{index:03d}": variable
        for group, variables in groups.items()
        for index, variable in enumerate(variables)
        if not is_seed_state(variable)
    }


class AdversarialModel(LatentSampling, UserData, keras.Model):
    """Builds, compiles and saves a generator and a discriminator.

    To a player's loss come the regularizers of its weights, logged as `discriminator_regularization` and
    `generator_regularization`; losses of `Layer.add_loss` do not.

    A subclass has `compile`, which calls `_compile_players`, `train_step`, and `get_compile_config` where its `compile`
    has more arguments.

    Args:
        generator: Built `keras.Model`, `(N, latent_size)` -> images.
        discriminator: Built `keras.Model`, images -> `{"logits": (N, ...), "features": (N, ...)}`.
        latent_range: Bounds of the uniform distribution of z.
        seed: Of all of the training's randomness.
        **kwargs: `keras.Model` arguments.

    Attributes:
        compile_gradients: Whether `train_step`, where it can (`ImageNetGAN`), lets XLA compile the computation of both
            gradients alone: XLA cannot compile what replicas tell one another. It draws other random numbers.

    Raises:
        ValueError: for networks that are not built, or have activity regularizers, and for a discriminator without
            these two outputs.
    """

    compile_gradients = False

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        latent_range: Sequence[float],
        seed: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for argument, network in (("generator", generator), ("discriminator", discriminator)):
            if not getattr(network, "built", False):
                raise ValueError(f"`{argument}` must be a built keras.Model. Received: {argument}={network}")
            if argument == "generator" and not hasattr(network, "output_shape"):
                raise ValueError(f"`generator` must be a functional or Sequential model. Received: generator={network}")
            for layer in network._flatten_layers():
                if isinstance(layer, VirtualBatchNorm):
                    # `train_step` calls the network itself: freezing that must renew this model's functions.
                    layer.callers.add(self)
                if getattr(layer, "activity_regularizer", None):
                    raise ValueError(
                        f"`{argument}` must have no activity regularizer: its loss takes those of weights alone. "
                        f"Received: {layer.activity_regularizer} of the layer {layer.name}"
                    )
        self.generator = generator
        self.discriminator = discriminator
        self.latent_range = tuple(latent_range)
        self.seed = seed
        outputs = discriminator.compute_output_spec(
            keras.KerasTensor((2, *generator.output_shape[1:]), dtype=generator.compute_dtype)
        )
        if not isinstance(outputs, dict) or not {"logits", "features"} <= set(outputs):
            raise ValueError(
                "`discriminator` must return a dict with the keys 'logits' and 'features'. "
                f"Received: discriminator={discriminator} returning {outputs}"
            )
        self.num_outputs = outputs["logits"].shape[-1]
        self.num_classes = self.num_outputs
        self.image_shape = tuple(generator.output_shape[1:])
        self.built = True

    def _compile_players(
        self,
        discriminator_optimizer: Any,
        generator_optimizer: Any,
        label_smoothing: float,
        techniques: Sequence[Technique] | None,
        generator_average_decay: float,
        **kwargs: Any,
    ) -> None:
        """Sets the optimizers and what every GAN has beside them, and creates their state."""
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"`label_smoothing` must be in [0, 1). Received: label_smoothing={label_smoothing}")
        techniques = () if techniques is None else techniques
        if not isinstance(techniques, Sequence) or not all(isinstance(each, Technique) for each in techniques):
            raise ValueError(f"`techniques` must be `igan_tf.losses.Technique`s. Received: techniques={techniques}")
        names = [technique.name for technique in techniques]
        if len(set(names)) < len(names):
            raise ValueError(f"`techniques` must have different names. Received: techniques named {names}")
        if unused := {"loss", "loss_weights", "metrics", "weighted_metrics"} & kwargs.keys():
            raise InputError(f"`{min(unused)}` must be left out: a GAN's losses are its own. Received: {min(unused)}")
        discriminator_optimizer = _optimizer("discriminator_optimizer", discriminator_optimizer)
        generator_optimizer = _optimizer("generator_optimizer", generator_optimizer)
        if discriminator_optimizer is generator_optimizer:
            raise InputError(
                "`generator_optimizer` must be another object than `discriminator_optimizer`: each keeps one player's "
                f"state. Received: generator_optimizer={generator_optimizer}"
            )
        if self.dtype_policy.name == "mixed_float16":
            # Float16's gradients need a scaled loss; Keras would see to the first optimizer alone.
            discriminator_optimizer, generator_optimizer = (
                each if isinstance(each, keras.optimizers.LossScaleOptimizer) else ReplicaLossScaleOptimizer(each)
                for each in (discriminator_optimizer, generator_optimizer)
            )
        # Keras's `optimizer` is the discriminator's: callbacks and TensorBoard count its steps.
        keras.Model.compile(self, optimizer=discriminator_optimizer, **kwargs)
        self.discriminator_optimizer = self.optimizer
        self.generator_optimizer = generator_optimizer
        self.label_smoothing = label_smoothing
        # Built now: under a strategy it cannot be done within a step, and a restored model needs the slots to restore.
        self.discriminator_optimizer.build(self.discriminator.trainable_variables)
        self.generator_optimizer.build(self.generator.trainable_variables)
        self.generator_average = None
        if generator_average_decay:
            self.generator_average = ParameterAverage(generator_average_decay, name="generator_average")
            self.generator_average.track(self.generator.trainable_variables)
        # Traced functions hold the averages of the compile before.
        self._samplings, self._classifier = {}, None
        self._keras_arguments = kwargs
        self.techniques = [technique for technique in techniques if technique.weight]
        for technique in self.techniques:
            technique.track(self)
        groups = [*_OWN_GROUPS, *(name for technique in self.techniques for name in technique.state_groups())]
        if len(set(groups)) < len(groups):
            raise ValueError(
                "`techniques` must keep their state under names of their own, and take no player's. "
                f"Received: techniques named {names} with states {groups[len(_OWN_GROUPS) :]}"
            )

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the discriminator's logits, a classifier's output: `(N, ...)`, as for `fit` -> `(N, num_outputs)`."""
        return self.discriminator(as_images(images, self.image_shape), training=training)["logits"]

    def _step_key(self) -> tf.Tensor:
        """Returns the key of a step, by the caller's number of steps so far (`at_step`) or else the optimizer's."""
        optimizer: Any = getattr(self.discriminator_optimizer, "inner_optimizer", self.discriminator_optimizer)
        # Not `iterations`, which stands still where gradients are accumulated over several steps.
        return step_key(self.seed, given_step(optimizer._iterations))

    def _generate(self, count: int | tf.Tensor, key: tf.Tensor, assign: bool | Assignments = True) -> tf.Tensor:
        """Generates `count` images in training mode."""
        latents = self._draw_latents(count, fold_in(key, 0))
        with drawing_from(self.generator, fold_in(key, 1), assign):
            return self.generator(latents, training=True)

    def _add_terms(self, loss: tf.Tensor, logs: dict[str, tf.Tensor], player: str, step: PlayerStep) -> tf.Tensor:
        """Returns `loss`, the techniques' terms and the regularizers'; puts the terms into `logs`."""
        for technique in self.techniques:
            terms = getattr(technique, f"{player}_terms")(step)
            for term in terms.values():
                loss += technique.weight * tf.cast(term, loss.dtype)
            if twice := logs.keys() & terms.keys():
                raise ValueError(f"`techniques` must log their terms under different names. Received: {sorted(twice)}")
            logs.update(terms)
        regularized = [each for each in getattr(self, player).trainable_variables if getattr(each, "regularizer", None)]
        if penalties := [variable.regularizer(variable) for variable in regularized]:
            logs[f"{player}_regularization"] = sum(tf.cast(penalty, loss.dtype) for penalty in penalties)
            loss += logs[f"{player}_regularization"]
        return loss

    def _update(self, player: str, gradients: list[tf.Tensor]) -> None:
        """Moves a player; averages and techniques take its new values in."""
        variables = getattr(self, player).trainable_variables
        getattr(self, f"{player}_optimizer").apply(gradients, variables)
        if player == "generator" and self.generator_average:
            self.generator_average.update(variables)
        for technique in self.techniques:
            technique.after_update(player, variables)

    def _replica_share(self, loss: tf.Tensor) -> tf.Tensor:
        """Returns the replica's part of the mean loss: Keras sums gradients over replicas."""
        return loss / tf.distribute.get_strategy().num_replicas_in_sync

    def state_variables(self) -> dict[str, keras.Variable]:
        """Returns every variable that training changes, by a name that is the same in every process.

        Seed generators are left out: randomness is a function of seed and step.
        """
        return named_variables(self._state_groups())

    def restart_averages(self) -> None:
        """Starts every average of parameters from their present values."""
        for player in ("generator", "discriminator"):
            average = getattr(self, f"{player}_average", None)
            if average is not None:
                average.restart(getattr(self, player).trainable_variables)

    def _state_groups(self) -> dict[str, list[keras.Variable]]:
        """Returns lists of variables by the first part of their names."""
        groups = {
            "generator": self.generator.variables,
            "discriminator": self.discriminator.variables,
            "discriminator_optimizer": self.discriminator_optimizer.variables,
            "generator_optimizer": self.generator_optimizer.variables,
        }
        for technique in self.techniques:
            groups.update(technique.state_groups())
        if self.generator_average:
            groups["generator_average"] = self.generator_average.variables
        return groups

    def get_config(self) -> dict[str, Any]:
        config = {
            "generator": keras.saving.serialize_keras_object(self.generator),
            "discriminator": keras.saving.serialize_keras_object(self.discriminator),
            "latent_range": self.latent_range,
            "seed": self.seed,
        }
        return {**super().get_config(), **config}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> AdversarialModel:
        networks = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects=custom_objects)
            for name in ("generator", "discriminator")
        }
        return cls(**{**config, **networks})

    def get_compile_config(self) -> dict[str, Any] | None:
        if not self.compiled:
            return None
        return {
            **self._keras_arguments,
            "discriminator_optimizer": keras.saving.serialize_keras_object(self.discriminator_optimizer),
            "generator_optimizer": keras.saving.serialize_keras_object(self.generator_optimizer),
            "label_smoothing": self.label_smoothing,
            "generator_average_decay": self.generator_average.decay if self.generator_average else 0.0,
            "techniques": [keras.saving.serialize_keras_object(technique) for technique in self.techniques],
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        former = {name: config[name] for name in _FORMER_ARGUMENTS if name in config}
        arguments = {name: value for name, value in config.items() if name not in former}
        for name in ("discriminator_optimizer", "generator_optimizer"):
            arguments[name] = keras.saving.deserialize_keras_object(config[name])
        arguments["techniques"] = [
            *(keras.saving.deserialize_keras_object(technique) for technique in config.get("techniques", ())),
            *(kind(former[name]) for name, kind in _FORMER_ARGUMENTS.items() if name in former),
        ]
        self.compile(**arguments)


def _optimizer(name: str, identifier: Any) -> keras.optimizers.Optimizer:
    """Returns the optimizer that Keras knows under a name or a configuration, or the one given."""
    optimizer = None
    with contextlib.suppress(ValueError, TypeError):
        optimizer = keras.optimizers.get(identifier)
    if optimizer and getattr(optimizer, "inner_optimizer", optimizer).use_ema:
        raise InputError(
            f"`{name}` must be an optimizer without use_ema: Keras would put its average into both players' weights. "
            f"Received: {name} with use_ema=True"
        )
    if optimizer:
        return optimizer
    raise InputError(f"`{name}` must be an optimizer, or the name of one of Keras's. Received: {name}={identifier!r}")


def classification_error(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Computes the fraction of wrongly classified examples among the labelled ones; 0 where there are none."""
    labels = tf.cast(labels, tf.int64)
    return mean_of_labelled(tf.cast(tf.argmax(logits, axis=-1) != labels, tf.float32), labels)
