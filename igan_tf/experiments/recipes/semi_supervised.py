"""The semi-supervised GAN on images in memory: digits, MNIST, CIFAR-10, SVHN, a folder of the user's."""

import hashlib

import keras
import numpy as np

from igan_tf.data import SemiSupervisedBatches, labelled_subset, read_label_file
from igan_tf.evaluation.images import ArraySource
from igan_tf.experiments.config import ConfigError
from igan_tf.experiments.recipes.parts import check_batch_size, optimizer, precision
from igan_tf.losses import HistoricalAveraging
from igan_tf.models import SemiSupervisedGAN
from igan_tf.networks import NETWORKS

SAMPLES_IN_GRID = 100
HAS_TEST_SET = True


def labelled_examples(config, data):
    """Indices and labels of the examples that keep their labels.

    Raises:
        ConfigError, DataError: where the data has no such labels.
    """
    if not config.labelled:
        return np.zeros(0, "int64"), np.zeros(0, "int64")
    if not data.num_classes:
        raise ConfigError(
            "the data has no classes: only --labels=0 without --label_file goes with it. "
            f"Received: --labels={config.labels} --label_file={config.label_file}"
        )
    if config.label_file:
        return read_label_file(config.label_file, len(data.train_images), data.num_classes)
    if config.labels % data.num_classes:
        raise ConfigError(
            f"--labels must be a multiple of the {data.num_classes} classes. Received: --labels={config.labels}"
        )
    missing = sorted(set(range(data.num_classes)) - set(data.train_labels.tolist()))
    if missing:
        raise ConfigError(
            f"no training image is of class {data.class_names[missing[0]]!r}. "
            f"Received: --labels={config.labels} --train_images={config.train_images}"
        )
    try:
        indices = labelled_subset(data.train_labels, config.labels // data.num_classes, config.seed_data)
    except ValueError as error:
        raise ConfigError(f"--labels={config.labels}: {error}") from error
    return indices, data.train_labels[indices]


def check_against_data(config, data, replicas):
    """Raises a ConfigError or DataError if the settings do not go with the data; writes nothing."""
    network = NETWORKS[config.network_name]
    height, width, _ = data.image_shape
    if height % network.SIDE_MULTIPLE or width % network.SIDE_MULTIPLE or min(height, width) < network.SMALLEST_SIDE:
        raise ConfigError(
            f"--network={config.network_name} needs images whose sides are multiples of {network.SIDE_MULTIPLE}, at "
            f"least {network.SMALLEST_SIDE}; --dataset={config.dataset} has {height} x {width} "
            f"(--image_size={config.image_size} is for --dataset=folder)"
        )
    labelled_examples(config, data)
    check_batch_size(config, len(data.train_images), replicas)


def make_batches(config, data, replicas, worker):
    """The `SemiSupervisedBatches` of this worker."""
    labelled = labelled_examples(config, data)
    batch_size = config.batch_size * replicas
    return SemiSupervisedBatches(
        data.train_images, *labelled, batch_size, config.seed, worker=worker.index, num_workers=worker.count
    )


def build_model(config, image_shape, num_classes, steps_per_epoch):
    """Networks and optimizers of a run, compiled; initial weights are a function of `config.seed`."""
    keras.utils.set_random_seed(config.seed)
    network = NETWORKS[config.network_name]
    with precision(config.precision):
        model = SemiSupervisedGAN(
            network.build_generator(
                image_shape,
                norm=config.generator_norm,
                reference_size=config.reference_size,
                width=config.network_width,
            ),
            network.build_discriminator(
                image_shape,
                num_outputs=num_classes if config.labelled else 1,
                minibatch_discrimination=config.minibatch_discrimination,
                width=config.network_width,
                corruption=config.input_corruption,
            ),
            latent_range=network.LATENT_RANGE,
            seed=config.seed,
        )
    model.compile(
        optimizer(config, config.discriminator_learning_rate, steps_per_epoch),
        optimizer(config, config.generator_learning_rate, steps_per_epoch * max(config.generator_steps, 1)),
        generator_objective=config.generator_objective,
        feature_matching_norm=config.feature_matching_norm,
        label_smoothing=config.label_smoothing,
        techniques=[HistoricalAveraging(config.historical_averaging)],
        unlabelled_weight=config.unlabelled_weight,
        generator_steps=config.generator_steps,
        average_decay=config.average_decay,
        average_debias=config.average_debias,
    )
    return model


def initialize(config, model, batches):
    """Data-dependent initialization, where the networks have one; to be called in the strategy's scope."""
    if not config.initialization_examples:
        return
    network = NETWORKS[config.network_name]
    images = batches.initialization_examples(config.initialization_examples, labelled=network.INITIALIZES_FROM_LABELLED)
    num_latents = config.batch_size if network.INITIALIZES_GENERATOR else 0
    model.initialize_from(images, config.seed, num_latents)


def identity(batches):
    """What of the data must be the same for a run to be continued, beside the images themselves."""
    labelled = np.stack([batches.labelled_indices, batches.labels])
    return {"SHA-256 of the labelled examples": hashlib.sha256(labelled).hexdigest()}


def real_images(config, data):
    """The images that samples are scored against: the test set, if there is one."""
    if len(data.test_images):
        return ArraySource(data.test_images, config.dataset, "test")
    return ArraySource(data.train_images, config.dataset, "train")


def evaluate(model, data, config):
    """Test errors, as fractions, of the present and of the averaged weights; empty where nothing is labelled."""
    if not len(data.test_labels) or model.num_outputs == 1:
        return {}
    return model.test_errors(data.test_images, data.test_labels, config.batch_size)


def histograms(config, model, batches):
    """Weight normalization's scales, and the discriminator's features on the first images."""
    values = {f"scale/{v.path}": v.numpy() for v in model.discriminator.variables if v.name == "scale"}
    values["features"] = model.discriminator(batches.take(np.arange(config.batch_size)))["features"]
    return values
