"""The ImageNet GAN: both players' gradients from one forward pass over a joint batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from igan_tf import losses
from igan_tf.models.adversarial_model import AdversarialModel, classification_error
from igan_tf.models.randomness import drawing_from, fold_in
from igan_tf.models.replicas import Assignments, assign_together, collecting
from igan_tf.models.running_error import RunningError
from igan_tf.models.user_data import as_batch


@keras.saving.register_keras_serializable("igan_tf")
class ImageNetGAN(AdversarialModel):
    """Trains a generator against a discriminator that sees one joint batch [real; generated].

    With l the logit of "real", `explicit_gan_logit` of K + 1 logits or the one logit itself, and
    a = 1 - label_smoothing, the discriminator minimizes

        mean KL(a || sigmoid(l(real))) + mean KL(0 || sigmoid(l(generated))) + supervised_loss(real, labels),

    the class loss over all K + 1 logits, and the generator

        mean KL(t || sigmoid(l(generated))),

    t = a / 2 with label smoothing, where the smoothed discriminator is at equilibrium, and 1 without. Techniques
    (`compile`) and regularizers of weights add terms to both. Both gradients come from the same forward pass, as in the
    published code: the players move at once.

    Randomness (latents, noise) is a function of `seed`, the discriminator's step and the replica: a model restored at a
    step repeats what it would have done. Under `tf.distribute` losses are scaled so that gradients are means over
    replicas; normalization, minibatch features and feature means are each replica's own. Build and compile the model in
    the strategy's scope.

    Args:
        generator: Built `keras.Model`, `(N, latent_size)` -> images.
        discriminator: Built `keras.Model`, images -> `{"logits": (N, K + 1) or (N, 1), "features": (N, ...)}`.
        latent_range: Bounds of the uniform distribution of z.
        seed: Of all of the training's randomness.
        **kwargs: `keras.Model` arguments.

    Raises:
        ValueError: for networks not built or with activity regularizers, a discriminator without these two outputs.

    ```python
    generator = imagenet.build_generator((32, 32, 3), latent_size=16, reference_size=2, gf_dim=8)
    discriminator = imagenet.build_discriminator((32, 32, 3), num_outputs=11, df_dim=4)
    model = ImageNetGAN(generator, discriminator)
    model.compile(FusedAdam(0.0004, beta_1=0.5), FusedAdam(0.0004, beta_1=0.5), label_smoothing=0.25)
    images, labels = np.random.default_rng(0).random((4, 32, 32, 3)), np.arange(4)
    model.fit(images, labels, batch_size=4, verbose=0)      # or a data set of dicts of images and labels
    samples = model.generate(4, seed=0)
    ```

    Reference: arXiv:1606.03498, section 6.4, and the published ImageNet code.

    Differs from the original code: label smoothing, historical averaging and feature matching can be chosen.
    """

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        latent_range: Sequence[float] = (-1.0, 1.0),
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(generator, discriminator, latent_range, seed, **kwargs)
        # One logit more is the generated class's.
        self.num_classes = max(1, self.num_outputs - 1)
        self.running_error = RunningError(name="running_error")

    def compile(
        self,
        discriminator_optimizer: keras.optimizers.Optimizer | str,
        generator_optimizer: keras.optimizers.Optimizer | str,
        label_smoothing: float = 0.25,
        techniques: Sequence[losses.Technique] | None = (),
        generator_average_decay: float = 0.0,
        **kwargs: Any,
    ) -> None:
        """Sets optimizers and techniques, and creates all state that training needs.

        Args:
            discriminator_optimizer, generator_optimizer: `keras.optimizers.Optimizer`s or Keras's names; built here.
            label_smoothing: The discriminator's target of real data is `1 - label_smoothing`; with 0 the generator's
                target is 1, too.
            techniques: `igan_tf.losses.Technique`s that add terms to the losses, summed in this order.
            generator_average_decay: Decay of a running average of the generator's parameters, debiased, that takes them
                in after each of its updates and with which `generate` draws; 0 keeps none.
            **kwargs: `run_eagerly`, `jit_compile`, ... of `keras.Model.compile`.

        Raises:
            ValueError: that names the argument and the value received.
        """
        self._compile_players(
            discriminator_optimizer, generator_optimizer, label_smoothing, techniques, generator_average_decay, **kwargs
        )

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return []

    # One training step.

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Updates both players once.

        Args:
            data: A dict of `images`, uint8 or floats in [0, 1], and, unless the discriminator has one logit,
                `labels`; or `(images, labels)`, or images alone. The class loss leaves out labels of -1.

        Returns:
            Dict of scalars: every loss and, where there are labels, the top-1 errors: `error` of this batch and
            `running_error`, an average over about a hundred batches.

        Raises:
            DataError: for images or labels of another form, weights of examples, and data without labels where the
                discriminator has classes.
        """
        needed = ("images",) if self.num_outputs == 1 else ("images", "labels")
        batch = as_batch(data, self.image_shape, names=("images",), needed=needed)
        images, labels = batch["images"], batch["labels"] if self.num_outputs > 1 else None
        assignments: Assignments = []

        def compute(images: tf.Tensor, labels: tf.Tensor | None, key: tf.Tensor) -> tuple[Any, Any, list[tf.Tensor]]:
            assignments.clear()
            return *self._gradients(images, labels, key, assignments), [value for _, value in assignments]

        if self.compile_gradients:
            compute = tf.function(compute, jit_compile=True, autograph=False)
        logs, gradients, values = compute(images, labels, self._step_key())
        assign_together([(variable, value) for (variable, _), value in zip(assignments, values)])
        for player, gradient in gradients.items():
            self._update(player, gradient)
        return logs

    def _gradients(
        self, images: tf.Tensor, labels: tf.Tensor | None, key: tf.Tensor, assignments: Assignments
    ) -> tuple[dict[str, tf.Tensor], dict[str, list[tf.Tensor]]]:
        """Computes a step without taking it: no variable is assigned, and no replica hears of another.

        Args:
            images, labels: Of the real half of the batch.
            key: Of everything random.
            assignments: Gets what the step would assign but for the optimizers.

        Returns:
            What is logged, and the gradients of each player.
        """
        with tf.GradientTape(persistent=True) as tape:
            generated_images, real, generated = self._joint_pass(images, key, assignments)

            def discriminate(images: tf.Tensor) -> dict[str, tf.Tensor]:
                return self._discriminate(images, generated_images, key, assign=False)[0]

            discriminator_loss, logs = self._discriminator_loss(real, generated, labels)
            if labels is not None:
                with collecting(self.running_error.variables, assignments):
                    logs["running_error"] = self.running_error(logs["error"])
            totals, scaled = {}, {}
            for player, loss in (("discriminator", discriminator_loss), ("generator", self._generator_loss(generated))):
                step = losses.PlayerStep(
                    variables=getattr(self, player).trainable_variables,
                    real_images=images,
                    real=real.__getitem__,
                    generated=generated.__getitem__,
                    discriminate=discriminate,
                    gan_logit=self._gan_logit,
                )
                loss = self._add_terms(loss, logs, player, step)
                totals[f"{player}_loss"] = loss
                scaled[player] = getattr(self, f"{player}_optimizer").scale_loss(self._replica_share(loss))
        # Both before either player moves.
        gradients = {
            player: tape.gradient(loss, getattr(self, player).trainable_variables) for player, loss in scaled.items()
        }
        return totals | logs, gradients

    def _joint_pass(
        self, images: tf.Tensor, key: tf.Tensor, assign: bool | Assignments = True
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """Generates as many images as there are real ones; returns them and the discriminator's outputs on both."""
        generated_images = self._generate(images.shape[0] or tf.shape(images)[0], key, assign)
        return generated_images, *self._discriminate(images, generated_images, key, assign)

    def _discriminate(
        self, images: tf.Tensor, generated_images: tf.Tensor, key: tf.Tensor, assign: bool | Assignments = True
    ) -> list[dict[str, tf.Tensor]]:
        """Returns the discriminator's outputs on each half of the joint batch."""
        dtype = self.discriminator.compute_dtype
        joint = tf.concat([tf.cast(images, dtype), tf.cast(generated_images, dtype)], 0)
        with drawing_from(self.discriminator, fold_in(key, 2), assign):
            outputs = self.discriminator(joint, training=True)
        halves = {name: tf.split(output, 2) for name, output in outputs.items()}
        return [{name: half[which] for name, half in halves.items()} for which in (0, 1)]

    def _discriminator_loss(
        self, real: dict[str, tf.Tensor], generated: dict[str, tf.Tensor], labels: tf.Tensor | None
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Computes the loss of telling real from generated images and of the real ones' classes, and what is logged."""
        terms = {
            "real_loss": losses.label_smoothing_real_loss(self._gan_logit(real["logits"]), 1.0 - self.label_smoothing),
            "generated_loss": losses.label_smoothing_fake_loss(self._gan_logit(generated["logits"])),
        }
        errors = {}
        if labels is not None:
            terms["class_loss"] = losses.supervised_loss(real["logits"], labels)
            errors["error"] = classification_error(real["logits"], labels)
        return sum(terms.values()), {**terms, **errors}

    def _generator_loss(self, generated: dict[str, tf.Tensor]) -> tf.Tensor:
        """Computes the loss of not being taken for as real as the smoothed discriminator's equilibrium."""
        real_target = 1.0 - self.label_smoothing
        target = None if self.label_smoothing else 1.0
        return losses.label_smoothing_generator_loss(self._gan_logit(generated["logits"]), real_target, target)

    def _gan_logit(self, logits: tf.Tensor) -> tf.Tensor:
        return losses.gan_logit(logits) if self.num_outputs == 1 else losses.explicit_gan_logit(logits)

    # Saving.

    def _state_groups(self) -> dict[str, list[keras.Variable]]:
        return {**super()._state_groups(), "running_error": self.running_error.variables}
