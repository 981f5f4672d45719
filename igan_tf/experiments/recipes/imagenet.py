"""The ImageNet GAN, on sharded records or on images in memory."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from igan_tf import losses
from igan_tf.data import ArrayBatches, ImageData, RecordBatches
from igan_tf.data.image_batches import ImageBatches
from igan_tf.errors import ConfigError, counted
from igan_tf.experiments.configs import ImageNetConfig
from igan_tf.experiments.recipes.recipe import Recipe
from igan_tf.images.arrays import as_unit_range
from igan_tf.losses import FeatureMatching
from igan_tf.models.imagenet_gan import ImageNetGAN
from igan_tf.networks import imagenet
from igan_tf.records.reader import ImageRecords
from igan_tf.training.cluster import Worker
from igan_tf.types import Tensor


class ImageNetRecipe(Recipe):
    """`ImageNetGAN` with the published networks, scaled by `gf_dim`, `df_dim` and the images' side."""

    Config = ImageNetConfig
    config: ImageNetConfig
    samples_in_grid = 64
    streams = True

    def check_against_data(self, data: ImageData | ImageRecords, replicas: int) -> None:
        height, width, _ = data.image_shape
        if height != width or height & (height - 1) or not imagenet.SMALLEST_SIDE <= height <= imagenet.LARGEST_SIDE:
            raise ConfigError(
                f"`recipe=imagenet` takes square images whose side is a power of two from {imagenet.SMALLEST_SIDE} to "
                f"{imagenet.LARGEST_SIDE}. Received: dataset={self.config.dataset} data_dir={self.config.data_dir} "
                f"with images of {height}x{width}"
            )
        count = len(data.train_images) if isinstance(data, ImageData) else len(data)
        if self.config.use_labels and isinstance(data, ImageData) and (missing := int(np.sum(data.train_labels < 0))):
            raise ConfigError(
                "`use_labels` needs a class for every training image. Received: "
                f"dataset={self.config.dataset} with {counted(missing, 'image')} without one"
            )
        self.check_batch_size(count, replicas)

    def make_batches(self, data: ImageData | ImageRecords, replicas: int, worker: Worker) -> ImageBatches:
        kind = ArrayBatches if isinstance(data, ImageData) else RecordBatches
        return kind(
            data,
            self.config.batch_size * replicas,
            self.config.seed,
            flip=self.config.flip,
            # As bytes, a quarter of what floats would be on the way to the devices; the step divides them by 255.
            as_float=False,
            worker=worker.index,
            num_workers=worker.count,
        )

    def build_generator(self, image_shape: tuple[int, int, int]) -> keras.Model:
        config = self.config
        return imagenet.build_generator(
            image_shape,
            latent_size=config.latent_size,
            norm=config.generator_norm,
            reference_size=config.reference_size,
            gf_dim=config.gf_dim,
        )

    @property
    def latent_range(self) -> tuple[float, float]:
        return imagenet.LATENT_RANGE

    def build_model(self, image_shape: tuple[int, int, int], num_classes: int, steps_per_epoch: int) -> ImageNetGAN:
        config = self.config
        with self.precision():
            model = ImageNetGAN(
                self.build_generator(image_shape),
                self.as_trained(
                    imagenet.build_discriminator(
                        image_shape,
                        num_outputs=num_classes + 1 if config.use_labels else 1,
                        norm=config.discriminator_norm,
                        minibatch_discrimination=config.minibatch_discrimination,
                        df_dim=config.df_dim,
                    )
                ),
                latent_range=self.latent_range,
                seed=config.seed,
                # Keras would number a model that is built again.
                name="image_net_gan",
            )
        model.compile(
            self.optimizer(config.discriminator_learning_rate, steps_per_epoch),
            self.optimizer(config.generator_learning_rate, steps_per_epoch),
            label_smoothing=config.label_smoothing,
            generator_average_decay=config.generator_average_decay,
            techniques=[FeatureMatching(config.feature_matching), *self.techniques()],
        )
        return model

    def histograms(self, model: ImageNetGAN, batches: ImageBatches) -> dict[str, Tensor]:
        """The discriminator's features and D(x) on the first images, generated ones beside them."""
        real = as_unit_range(batches.take(np.arange(self.config.batch_size)))
        joint = np.concatenate([real, model.generate(self.config.batch_size, self.config.seed)])
        outputs = model.discriminator(joint)
        gan_logit = losses.explicit_gan_logit if self.config.use_labels else losses.gan_logit
        real, generated = np.split(keras.ops.sigmoid(gan_logit(outputs["logits"])).numpy(), 2)
        return {"features": outputs["features"], "probability/of_real": real, "probability/of_generated": generated}

    def facts(self, batches: ImageBatches) -> dict[str, Any]:
        return {"labels": batches.num_labelled}
