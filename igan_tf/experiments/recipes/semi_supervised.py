"""The semi-supervised GAN on images in memory."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from igan_tf import losses
from igan_tf.data import ImageData, labelled_subset, read_label_file, unbalanced_subset
from igan_tf.data.batches import SemiSupervisedBatches
from igan_tf.errors import ConfigError, DataError, counted
from igan_tf.experiments.configs import RunConfig, SemiSupervisedConfig
from igan_tf.experiments.recipes.recipe import Recipe
from igan_tf.layers.data_dependent import NothingToInitialize
from igan_tf.models.randomness import random_state_kept
from igan_tf.models.semi_supervised_gan import SemiSupervisedGAN
from igan_tf.networks import NETWORKS, Network
from igan_tf.training.cluster import Worker, this_worker
from igan_tf.types import Tensor


class SemiSupervisedRecipe(Recipe):
    """`SemiSupervisedGAN` with the networks of `network`."""

    Config = SemiSupervisedConfig
    config: SemiSupervisedConfig

    @property
    def network(self) -> Network:
        """The `Network`."""
        return NETWORKS[self.config.network_name]

    def labelled_examples(self, data: ImageData) -> tuple[np.ndarray, np.ndarray]:
        """Indices and labels of the examples that keep their labels.

        Raises:
            ConfigError, DataError: where the data has no such labels.
        """
        config = self.config
        if not config.labelled:
            return np.zeros(0, "int64"), np.zeros(0, "int64")
        if not data.num_classes:
            raise ConfigError(
                "the data has no classes: only `labels=0` without `label_file` goes with it. "
                f"Received: labels={config.labels} label_file={config.label_file}"
            )
        known = data.train_labels
        if config.label_file:
            if data.unreadable_in_training:
                raise ConfigError(
                    "`label_file` counts the training images, of which none may be unreadable: repair or remove "
                    f"{counted(data.unreadable_in_training, 'file')}, the first {data.unreadable[0]}. "
                    f"Received: label_file={config.label_file}"
                )
            indices, labels = read_label_file(config.label_file, len(known), data.num_classes)
            if config.balance is None:
                return indices, labels
            known = np.full(len(known), -1, "int64")
            known[indices] = labels
        try:
            if config.balance is False:
                indices = unbalanced_subset(known, config.labels, config.seed_data)
            else:
                self._check_classes(known, data)
                indices = labelled_subset(known, config.labels // data.num_classes, config.seed_data)
        except DataError as error:
            reason = str(error).partition(" Received: ")[0].replace("`count`", "it")
            raise ConfigError(f"`labels={config.labels}`: {reason} `labels=0` trains without classes") from error
        return indices, known[indices]

    def _check_classes(self, known: np.ndarray, data: ImageData) -> None:
        """Raises a ConfigError where `labels` cannot be the same number of each class, one or more."""
        config = self.config
        if config.labels % data.num_classes:
            default = ", the default" if config.labels == type(config).labels else ""
            raise ConfigError(
                f"`labels` must be a multiple of the {data.num_classes} classes, such as "
                f"{config.labels - config.labels % data.num_classes or data.num_classes}; 0 trains without classes. "
                f"Received: labels={config.labels}{default}"
            )
        counts = np.bincount(known[known >= 0], minlength=data.num_classes)
        fewest, each = int(counts.argmin()), config.labels // data.num_classes
        if not counts[fewest]:
            cause = f"label_file={config.label_file}" if config.label_file else f"train_images={config.train_images}"
            if data.unreadable_in_training:
                cause += f" and {counted(data.unreadable_in_training, 'image')} that cannot be read"
            raise ConfigError(
                f"no training image is of class {data.class_names[fewest]!r}. Received: labels={config.labels} {cause}"
            )
        if counts[fewest] < each:
            raise ConfigError(
                f"`labels` must be at most {counts[fewest] * data.num_classes}, or 0 to train without classes: "
                f"of class {data.class_names[fewest]!r} there are {counts[fewest]} to train on, not {each}. "
                f"Received: labels={config.labels}"
            )

    def check_against_data(self, data: ImageData, replicas: int) -> None:
        if this_worker().count > 1 and (self.draws() or self.baseline()):
            raise ConfigError(
                "`label_draws` and `supervised_baseline` train several models one after the other: not with several "
                f"workers. Received: label_draws={self.config.label_draws} "
                f"supervised_baseline={self.config.supervised_baseline}"
            )
        height, width, _ = data.image_shape
        network = self.network
        if not network.takes(height, width):
            raise ConfigError(
                f"`network={self.config.network_name}` needs images of at least {network.smallest_side} x "
                f"{network.smallest_side}; `dataset={self.config.dataset}` has {height} x {width} "
                f"(`image_size={self.config.image_size}` is for `dataset=folder`)"
            )
        if network.builders:
            # Networks of one's own are looked at before a run directory is made.
            with random_state_kept(), tf.Graph().as_default():
                self.build_model(data.image_shape, data.num_classes, 1)
        self.labelled_examples(data)
        self.check_batch_size(len(data.train_images), replicas)

    def make_batches(self, data: ImageData, replicas: int, worker: Worker) -> SemiSupervisedBatches:
        return SemiSupervisedBatches(
            data.train_images,
            *self.labelled_examples(data),
            self.config.batch_size * replicas,
            self.config.seed,
            worker=worker.index,
            num_workers=worker.count,
        )

    def build_generator(self, image_shape: tuple[int, int, int]) -> keras.Model:
        config = self.config
        return self.network.build_generator(
            image_shape, norm=config.generator_norm, reference_size=config.reference_size, width=config.network_width
        )

    @property
    def latent_range(self) -> tuple[float, float]:
        return self.network.latent_range

    def build_model(
        self, image_shape: tuple[int, int, int], num_classes: int, steps_per_epoch: int
    ) -> SemiSupervisedGAN:
        config = self.config
        with self.precision():
            model = SemiSupervisedGAN(
                self.build_generator(image_shape),
                self.as_trained(
                    self.network.build_discriminator(
                        image_shape,
                        num_outputs=num_classes if config.labelled else 1,
                        minibatch_discrimination=config.minibatch_discrimination,
                        width=config.network_width,
                        corruption=config.input_corruption,
                        weight_norm=config.discriminator_weight_norm,
                    )
                ),
                latent_range=self.latent_range,
                seed=config.seed,
                # Keras would number a model that is built again.
                name="semi_supervised_gan",
            )
        model.compile(
            self.optimizer(config.discriminator_learning_rate, steps_per_epoch),
            self.optimizer(config.generator_learning_rate, steps_per_epoch * max(config.generator_steps, 1)),
            generator_objective=config.generator_objective,
            feature_matching_norm=config.feature_matching_norm,
            label_smoothing=config.label_smoothing,
            generator_average_decay=config.generator_average_decay,
            unlabelled_weight=config.unlabelled_weight,
            generator_steps=config.generator_steps,
            average_decay=config.average_decay,
            average_debias=config.average_debias,
            techniques=self.techniques(),
        )
        return model

    def initialize(self, model: SemiSupervisedGAN, batches: SemiSupervisedBatches) -> None:
        # It sets the scales of weight normalization.
        if not self.config.initialization_examples or self.config.discriminator_weight_norm != "weight":
            return
        images = batches.initialization_examples(
            self.config.initialization_examples, labelled=self.network.initializes_from_labelled
        )
        num_latents = self.config.batch_size if self.network.initializes_generator else 0
        try:
            model.initialize_from(images, self.config.seed, num_latents)
        except NothingToInitialize:
            # Networks of one's own need no such layer.
            if not self.network.builders:
                raise

    def identity(self, batches: SemiSupervisedBatches) -> dict[str, Any]:
        labelled = np.stack([batches.labelled_indices, batches.labels])
        return {"SHA-256 of the labelled examples": hashlib.sha256(labelled.data).hexdigest()}

    def test_errors(self, model: SemiSupervisedGAN, data: ImageData) -> dict[str, float]:
        """Test errors of the present and of the averaged weights; empty where nothing is labelled."""
        if not len(data.test_labels) or model.num_outputs == 1:
            return {}
        return model.test_errors(data.test_images, data.test_labels, self.config.batch_size)

    def histograms(self, model: SemiSupervisedGAN, batches: SemiSupervisedBatches) -> dict[str, Tensor]:
        """Weight normalization's scales; the discriminator's features and D(x) on the first images, D(x) on samples."""
        count = self.config.batch_size
        real = model.discriminator(batches.take(np.arange(count)))
        generated = model.discriminator(model.generate(count, self.config.seed))
        return {
            **{f"scale/{v.path}": v.numpy() for v in model.discriminator.variables if v.name == "scale"},
            "features": real["features"],
            "probability/of_real": keras.ops.sigmoid(losses.gan_logit(real["logits"])),
            "probability/of_generated": keras.ops.sigmoid(losses.gan_logit(generated["logits"])),
        }

    def facts(self, batches: SemiSupervisedBatches) -> dict[str, Any]:
        return {"seed_data": self.config.seed_data, "labels": batches.num_labelled}

    @property
    def generates(self) -> bool:
        return bool(self.config.generator_steps)

    def draws(self) -> dict[str, RunConfig]:
        """A run for each labelled subset of `label_draws`."""
        config = self.config
        if config.label_draws == 1:
            return {}
        return {
            f"draw-{seed_data}": dataclasses.replace(config, seed_data=seed_data, label_draws=1)
            for seed_data in range(config.seed_data, config.seed_data + config.label_draws)
        }

    def baseline(self) -> SemiSupervisedConfig | None:
        """The same discriminator on the labelled examples alone."""
        if not self.config.supervised_baseline:
            return None
        return dataclasses.replace(
            self.config, supervised_baseline=False, unlabelled_weight=0.0, generator_steps=0, init_from=""
        )
