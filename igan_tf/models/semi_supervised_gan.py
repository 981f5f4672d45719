"""The semi-supervised GAN: a Keras model whose `train_step` holds the paper's training techniques."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from igan_tf import losses
from igan_tf.layers import data_dependent_initialization
from igan_tf.models.adversarial_model import AdversarialModel, classification_error
from igan_tf.models.averaged_classifier import AveragedClassifier, couples_any_examples
from igan_tf.models.objectives import GENERATOR_OBJECTIVES
from igan_tf.models.parameter_average import ParameterAverage
from igan_tf.models.randomness import drawing_from, fold_in
from igan_tf.models.user_data import as_batch, as_images, check_integer, check_weight


@keras.saving.register_keras_serializable("igan_tf")
class SemiSupervisedGAN(AveragedClassifier, AdversarialModel):
    """Trains a generator against a discriminator with K class logits, the generated class's logit fixed at 0.

    The discriminator minimizes, on labelled (l), unlabelled (u) and generated data,

        supervised_loss(l) + unlabelled_weight * (unsupervised_real_loss(u) + unsupervised_fake_loss(generated))

    and the generator one of

    - `feature_matching`: `feature_matching_loss(f(u'), f(generated))`, on a second batch `u'` of unlabelled data;
    - `minimax`, `non_saturating`: `semi_supervised_generator_loss(generated)` of that form.

    Techniques (`compile`) and regularizers of weights add terms to both. With one logit and no labels it is the
    ordinary GAN with D = sigmoid(logit).

    Randomness (latents, dropout, noise) is a function of `seed`, the discriminator's step and the replica: a model
    restored at a step repeats what it would have done. Under `tf.distribute` losses are scaled so that gradients are
    means over replicas; batch statistics, minibatch features and feature means are each replica's own. Build, compile
    and initialize the model in the strategy's scope.

    Args:
        generator: Built `keras.Model`, `(N, latent_size)` -> images.
        discriminator: Built `keras.Model`, images -> `{"logits": (N, K), "features": (N, ...)}`.
        latent_range: Bounds of the uniform distribution of z.
        seed: Of all of the training's randomness.
        joint_passes: Whether D sees labelled, unlabelled and generated examples in one pass, which is faster and
            the same where no layer couples a batch's examples. None: unless D has a layer that does. Such a layer, of
            this package or of your own, has the attribute `couples_examples = True`; Keras's `BatchNormalization` is
            known without.
        **kwargs: `keras.Model` arguments.

    Raises:
        ValueError: for networks not built or with activity regularizers, a discriminator without these two outputs.

    ```python
    model = SemiSupervisedGAN(digits.build_generator(), digits.build_discriminator())
    model.compile(InsideRootAdam(0.003), InsideRootAdam(0.003))
    images, labels = np.random.default_rng(0).random((100, 8, 8, 1)), np.arange(100) % 10
    # Every example is labelled here; a data set of dicts of labelled_images, labels, unlabelled_images trains on both.
    model.fit(images, labels, batch_size=50, verbose=0)
    samples = model.generate(16, seed=0)
    ```

    Reference: arXiv:1606.03498, sections 3 and 5.

    Differs from the original code: one pass over the joint batch where nothing couples its examples; the average of
        the discriminator's parameters is debiased unless `average_debias=False`.
    """

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        latent_range: Sequence[float] = (0.0, 1.0),
        seed: int = 0,
        joint_passes: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(generator, discriminator, latent_range, seed, **kwargs)
        self.joint_passes = joint_passes
        self._joint = not couples_any_examples(discriminator) if joint_passes is None else joint_passes

    def compile(
        self,
        discriminator_optimizer: keras.optimizers.Optimizer | str,
        generator_optimizer: keras.optimizers.Optimizer | str,
        generator_objective: str = "feature_matching",
        feature_matching_norm: str = "l2",
        label_smoothing: float = 0.0,
        techniques: Sequence[losses.Technique] | None = (),
        unlabelled_weight: float = 1.0,
        generator_steps: int = 1,
        average_decay: float = 0.9999,
        average_debias: bool = True,
        generator_average_decay: float = 0.0,
        **kwargs: Any,
    ) -> None:
        """Sets optimizers and techniques, and creates all state that training needs.

        Args:
            discriminator_optimizer, generator_optimizer: `keras.optimizers.Optimizer`s or Keras's names; built here.
            generator_objective: "feature_matching", "minimax" or "non_saturating".
            feature_matching_norm: "l2" or "l1".
            label_smoothing: The target of real data is `1 - label_smoothing`; that of generated data stays 0.
            techniques: `igan_tf.losses.Technique`s that add terms to the losses, summed in this order.
            unlabelled_weight: Weight of the unsupervised loss. 0, with no generator steps, trains the discriminator
                on the labelled data alone: the supervised baseline.
            generator_steps: Generator updates after each discriminator update.
            average_decay: Decay of the running average of D's parameters.
            average_debias: Whether the average is corrected for its start at 0.
            generator_average_decay: Decay of a debiased running average of the generator's parameters, taken in after
                each of its updates, with which `generate` draws; 0 keeps none.
            **kwargs: `run_eagerly`, `jit_compile`, ... of `keras.Model.compile`.

        Raises:
            ValueError: that names the argument and the value received.
        """
        for name, value, choices in (
            ("generator_objective", generator_objective, GENERATOR_OBJECTIVES),
            ("feature_matching_norm", feature_matching_norm, ("l1", "l2")),
        ):
            if value not in choices:
                raise ValueError(f"`{name}` must be one of {choices}. Received: {name}={value!r}")
        check_weight("unlabelled_weight", unlabelled_weight)
        check_integer("generator_steps", generator_steps, 0)
        self._compile_players(
            discriminator_optimizer, generator_optimizer, label_smoothing, techniques, generator_average_decay, **kwargs
        )
        self.generator_objective = generator_objective
        self.feature_matching_norm = feature_matching_norm
        self.unlabelled_weight = unlabelled_weight
        self.generator_steps = generator_steps
        self.discriminator_average = ParameterAverage(average_decay, average_debias, name="discriminator_average")
        self.discriminator_average.track(self.discriminator.trainable_variables)
        self._test_metrics = [keras.metrics.Mean(name="test_error"), keras.metrics.Mean(name="averaged_test_error")]

    def initialize_from(self, images: tf.Tensor, seed: int, num_latents: int = 0) -> None:
        """Initializes the players from data, before the first step: see `data_dependent_initialization`.

        Args:
            images: The examples that the discriminator sees, as of `fit`; the published code has 500.
            seed: Of noise and latents.
            num_latents: How many latents the generator sees; 0 leaves it as it is.
        """
        self._check_arrays(images)
        check_integer("num_latents", num_latents, 0)
        images = as_images(images, self.image_shape)
        key = tf.constant([seed, 2], tf.int32)
        with drawing_from(self.discriminator, fold_in(key, 0)):
            data_dependent_initialization(self.discriminator, images)
        if num_latents:
            latents = self._draw_latents(num_latents, fold_in(key, 1))
            with drawing_from(self.generator, fold_in(key, 2)):
                data_dependent_initialization(self.generator, latents)
        for technique in self.techniques:
            technique.restart(self)

    # One training step.

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Updates the discriminator once, then the generator `generator_steps` times.

        Args:
            data: A dict of `labelled_images` with `labels`, `unlabelled_images` and, for feature matching,
                `unlabelled_images_2` (the first batch serves where it is missing); or `(images, labels)`, or images
                alone. Their forms are those of `fit`; an example with the label -1 has no supervised loss.

        Returns:
            Dict of scalars: every loss, `train_error` where there are labels.

        Raises:
            DataError: for data of another form. A label out of range, which a graph does not see, makes the loss NaN.
        """
        needed = ["unlabelled_images"] * bool(self.unlabelled_weight or self.generator_steps)
        needed += ["labelled_images"] * (not self.unlabelled_weight)
        key = self._step_key()
        batch = as_batch(data, self.image_shape, ("labelled_images", "unlabelled_images"), needed)
        logs = self._train_discriminator(batch, fold_in(key, 0))
        for index in range(1, self.generator_steps + 1):
            logs.update(self._train_generator(batch, fold_in(key, index)))
        return logs

    def _train_discriminator(self, batch: dict[str, tf.Tensor], key: tf.Tensor) -> dict[str, tf.Tensor]:
        """Lowers the loss of labelled data's classes and of telling unlabelled from generated data."""
        real_target = 1.0 - self.label_smoothing
        inputs = {}
        if "labelled_images" in batch:
            inputs["labelled"] = batch["labelled_images"]
        if self.unlabelled_weight:
            inputs["unlabelled"] = batch["unlabelled_images"]
            inputs["generated"] = self._generate(tf.shape(batch["unlabelled_images"])[0], fold_in(key, 0))
        variables = self.discriminator.trainable_variables
        real = "unlabelled" if self.unlabelled_weight else "labelled"
        logs = {}
        with tf.GradientTape() as tape:
            outputs = self._discriminate(inputs, fold_in(key, 1))
            logits = outputs("logits")
            loss = 0.0
            if "labelled" in logits:
                logs["supervised_loss"] = losses.supervised_loss(logits["labelled"], batch["labels"])
                logs["train_error"] = classification_error(logits["labelled"], batch["labels"])
                loss += logs["supervised_loss"]
            if "unlabelled" in logits:
                logs["unlabelled_loss"] = losses.unsupervised_real_loss(logits["unlabelled"], real_target)
                logs["generated_loss"] = losses.unsupervised_fake_loss(logits["generated"])
                loss += self.unlabelled_weight * (logs["unlabelled_loss"] + logs["generated_loss"])
            step = self._player_step(variables, inputs[real], outputs, real, key)
            loss = self._add_terms(loss, logs, "discriminator", step)
            scaled = self.discriminator_optimizer.scale_loss(self._replica_share(loss))
        # As published, the average takes the parameters as they were before the update.
        self.discriminator_average.update(variables)
        self._update("discriminator", tape.gradient(scaled, variables))
        return {"discriminator_loss": loss, **logs}

    def _train_generator(self, batch: dict[str, tf.Tensor], key: tf.Tensor) -> dict[str, tf.Tensor]:
        """Lowers the generator's objective; the discriminator's parameters stay as they are."""
        variables = self.generator.trainable_variables
        real = batch.get("unlabelled_images_2", batch.get("unlabelled_images"))
        logs: dict[str, tf.Tensor] = {}
        with tf.GradientTape() as tape:
            generated = self._generate(tf.shape(real)[0], fold_in(key, 0))
            if self.generator_objective == "feature_matching":
                outputs = self._discriminate({"real": real, "generated": generated}, fold_in(key, 1))
                features = outputs("features")
                real_features, norm = features["real"], self.feature_matching_norm
                loss = losses.feature_matching_loss(real_features, features["generated"], norm=norm)
            else:
                outputs = self._discriminate({"generated": generated}, fold_in(key, 1))
                logits = outputs("logits")["generated"]
                loss = losses.semi_supervised_generator_loss(logits, form=self.generator_objective)
            loss = self._add_terms(loss, logs, "generator", self._player_step(variables, real, outputs, "real", key))
            scaled = self.generator_optimizer.scale_loss(self._replica_share(loss))
        self._update("generator", tape.gradient(scaled, variables))
        return {"generator_loss": loss, **logs}

    def _player_step(
        self,
        variables: list[keras.Variable],
        real_images: tf.Tensor,
        outputs: Callable[[str], dict[str, tf.Tensor]],
        real: str,
        key: tf.Tensor,
    ) -> losses.PlayerStep:
        """Returns what techniques may use of an update; `outputs` has the real images' as `real`, or not at all."""

        def discriminate(images: tf.Tensor) -> dict[str, tf.Tensor]:
            with drawing_from(self.discriminator, fold_in(key, 2), assign=False):
                return self.discriminator(images, training=True)

        def output_on_real(output: str) -> tf.Tensor:
            found = outputs(output)
            return found[real] if real in found else discriminate(real_images)[output]

        return losses.PlayerStep(
            variables=variables,
            real_images=real_images,
            real=output_on_real,
            generated=lambda output: outputs(output)["generated"],
            discriminate=discriminate,
            gan_logit=losses.gan_logit,
        )

    def _discriminate(self, inputs: dict[str, tf.Tensor], key: tf.Tensor) -> Callable[[str], dict[str, tf.Tensor]]:
        """Runs D on each named batch, in one pass where D allows it.

        Returns:
            Function of "logits" or "features": a dict of that output for each batch.
        """
        if not self._joint:
            found = {}
            for index, (name, images) in enumerate(inputs.items()):
                with drawing_from(self.discriminator, fold_in(key, index)):
                    found[name] = self.discriminator(images, training=True)
            return lambda output: {name: outputs[output] for name, outputs in found.items()}
        sizes = [images.shape[0] or tf.shape(images)[0] for images in inputs.values()]
        # Generated images come in the generator's precision.
        joint = tf.concat([tf.cast(images, self.discriminator.compute_dtype) for images in inputs.values()], 0)
        with drawing_from(self.discriminator, key):
            outputs = self.discriminator(joint, training=True)
        return lambda output: dict(zip(inputs, tf.split(outputs[output], sizes)))

    # Saving.

    def _state_groups(self) -> dict[str, list[keras.Variable]]:
        return {**super()._state_groups(), "discriminator_average": self.discriminator_average.variables}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "joint_passes": self.joint_passes}

    def get_compile_config(self) -> dict[str, Any] | None:
        return (config := super().get_compile_config()) and {
            **config,
            "generator_objective": self.generator_objective,
            "feature_matching_norm": self.feature_matching_norm,
            "unlabelled_weight": self.unlabelled_weight,
            "generator_steps": self.generator_steps,
            "average_decay": self.discriminator_average.decay,
            "average_debias": self.discriminator_average.debias,
        }
