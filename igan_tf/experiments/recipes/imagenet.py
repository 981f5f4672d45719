"""The ImageNet GAN on sharded records."""

import keras
import numpy as np

from igan_tf.data import RecordBatches
from igan_tf.evaluation.record_source import RecordSource
from igan_tf.experiments.config import ConfigError
from igan_tf.experiments.recipes.parts import check_batch_size, optimizer, precision
from igan_tf.losses import FeatureMatching, HistoricalAveraging
from igan_tf.models import ImageNetGAN
from igan_tf.networks import imagenet

SAMPLES_IN_GRID = 64
HAS_TEST_SET = False


def check_against_data(config, data, replicas):
    """Raises a ConfigError if the settings do not go with the records; writes nothing."""
    size = data.image_shape[0]
    if size & (size - 1) or not imagenet.SMALLEST_SIDE <= size <= imagenet.LARGEST_SIDE:
        raise ConfigError(
            f"the networks take images whose side is a power of two from {imagenet.SMALLEST_SIDE} to "
            f"{imagenet.LARGEST_SIDE}. Received: --data_dir={config.data_dir} with records of {size}x{size}"
        )
    check_batch_size(config, len(data), replicas)


def make_batches(config, data, replicas, worker):
    """The `RecordBatches` of this worker."""
    return RecordBatches(
        data,
        config.batch_size * replicas,
        config.seed,
        flip=config.flip,
        worker=worker.index,
        num_workers=worker.count,
    )


def build_model(config, image_shape, num_classes, steps_per_epoch):
    """Networks and optimizers of a run, compiled; initial weights are a function of `config.seed`."""
    keras.utils.set_random_seed(config.seed)
    with precision(config.precision):
        model = ImageNetGAN(
            imagenet.build_generator(
                image_shape,
                latent_size=config.latent_size,
                norm=config.generator_norm,
                reference_size=config.reference_size,
                gf_dim=config.gf_dim,
            ),
            imagenet.build_discriminator(
                image_shape,
                num_outputs=num_classes + 1 if config.use_labels else 1,
                norm=config.discriminator_norm,
                minibatch_discrimination=config.minibatch_discrimination,
                df_dim=config.df_dim,
            ),
            latent_range=imagenet.LATENT_RANGE,
            seed=config.seed,
        )
    model.compile(
        optimizer(config, config.discriminator_learning_rate, steps_per_epoch),
        optimizer(config, config.generator_learning_rate, steps_per_epoch),
        label_smoothing=config.label_smoothing,
        techniques=[FeatureMatching(config.feature_matching), HistoricalAveraging(config.historical_averaging)],
    )
    return model


def initialize(config, model, batches):
    """Nothing: the published code has no data-dependent initialization here."""


def identity(batches):
    """Nothing beside the records themselves."""
    return {}


def real_images(config, data):
    """The images that samples are scored against: the records, there being no test set."""
    return RecordSource(data)


def evaluate(model, data, config):
    """Nothing: there is no test set, and the training error is among the losses."""
    return {}


def histograms(config, model, batches):
    """The discriminator's features on the first images, generated ones beside them."""
    real = batches.take(np.arange(config.batch_size))
    joint = np.concatenate([real, model.generate(config.batch_size, config.seed)])
    return {"features": model.discriminator(joint)["features"]}
