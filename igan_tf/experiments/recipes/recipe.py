"""What a recipe is: everything that differs between kinds of experiment."""

from __future__ import annotations

import abc
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import keras

from igan_tf.data import ImageData, load_data
from igan_tf.errors import ConfigError
from igan_tf.evaluation.images import ArraySource, ImageSource
from igan_tf.evaluation.record_source import RecordSource
from igan_tf.experiments.configs import RunConfig
from igan_tf.layers import DifferentiableAugmentation, TableGaussianNoise
from igan_tf.losses import HistoricalAveraging, Technique
from igan_tf.losses.r1_penalty import R1Penalty
from igan_tf.models.adversarial_model import AdversarialModel
from igan_tf.optimizers import AnnealedRate, FusedAdam, InsideRootAdam
from igan_tf.precision import dtype_policy
from igan_tf.records.reader import ImageRecords
from igan_tf.training.cluster import Worker
from igan_tf.types import Tensor


class Recipe(abc.ABC):
    """Which batches, networks and model a config stands for, and what is measured of them.

    What the config, the data, the batches and the model are, a subclass says in its annotations.

    Args:
        config: Of the class `Config`.
    """

    Config: ClassVar[type[RunConfig]]
    samples_in_grid: ClassVar[int] = 100
    # Whether data sets that can stay on the disk do.
    streams: ClassVar[bool] = False

    def __init__(self, config: Any) -> None:
        self.config: RunConfig = config

    def load_data(self) -> ImageData | ImageRecords:
        """The data set that the config names; read from the disk as it is needed where recipe and data set can."""
        return load_data(self.config, streamed=self.streams)

    @abc.abstractmethod
    def check_against_data(self, data: Any, replicas: int) -> None:
        """Raises a ConfigError or DataError if the settings do not go with the data; writes nothing."""

    @abc.abstractmethod
    def make_batches(self, data: Any, replicas: int, worker: Worker) -> Any:
        """This worker's batches: `steps_per_epoch`, `epoch(number, start_step)`, `take(indices)`, `num_labelled`."""

    @abc.abstractmethod
    def build_model(
        self, image_shape: tuple[int, int, int], num_classes: int, steps_per_epoch: int
    ) -> AdversarialModel:
        """Networks and optimizers, compiled; initial weights are a function of `config.seed`."""

    @abc.abstractmethod
    def build_generator(self, image_shape: tuple[int, int, int]) -> keras.Model:
        """The generator alone."""

    @property
    @abc.abstractmethod
    def latent_range(self) -> tuple[float, float]:
        """Bounds of the uniform distribution of z."""

    def initialize(self, model: Any, batches: Any) -> None:  # noqa: B027
        """Data-dependent initialization, where the recipe has one; to be called in the strategy's scope."""

    def identity(self, batches: Any) -> dict[str, Any]:
        """What of the data must be the same for a run to be continued, beside the images themselves."""
        return {}

    def real_images(self, data: ImageData | ImageRecords) -> ImageSource:
        """The images that samples are scored against: the test set, or all where there is none."""
        if not isinstance(data, ImageData):
            return RecordSource(data)
        if len(data.test_images):
            return ArraySource(data.test_images, self.config.dataset, "test")
        return ArraySource(data.train_images, self.config.dataset, "train")

    def test_errors(self, model: Any, data: Any) -> dict[str, float]:
        """Test errors, as fractions; empty where there is nothing to test."""
        return {}

    def histograms(self, model: Any, batches: Any) -> dict[str, Tensor]:
        """Arrays for TensorBoard's histograms, by name."""
        return {}

    def facts(self, batches: Any) -> dict[str, Any]:
        """What `result.json` says of the run beside its figures."""
        return {}

    @property
    def generates(self) -> bool:
        """Whether there are samples to look at."""
        return True

    def draws(self) -> dict[str, RunConfig]:
        """Several runs in the place of one, by the name of their folder; empty for one run."""
        return {}

    def baseline(self) -> RunConfig | None:
        """The config of a run to compare with, or None."""
        return None

    # What recipes share.

    def precision(self) -> AbstractContextManager[None]:
        """Layers and models made in this scope have the dtype policy of `precision`."""
        return dtype_policy(self.config.precision)

    def as_trained(self, discriminator: keras.Model) -> keras.Model:
        """The discriminator with the noise of `noise`, behind the changes of `augmentation`."""
        for layer in discriminator._flatten_layers():
            if isinstance(layer, TableGaussianNoise):
                layer.exact = self.config.noise == "exact"
        if not self.config.augmentation:
            return discriminator
        images = keras.Input(discriminator.input_shape[1:])
        augment = DifferentiableAugmentation(self.config.augmentation.split(","), name="augmentation")
        return keras.Model(images, discriminator(augment(images)), name="augmented_discriminator")

    def techniques(self) -> list[Technique]:
        """The techniques of every recipe; the model leaves those of weight 0 out."""
        return [HistoricalAveraging(self.config.historical_averaging), R1Penalty(self.config.r1_penalty)]

    def optimizer(self, learning_rate: float, steps_per_epoch: int) -> keras.optimizers.Optimizer:
        """The optimizer of `adam`, its rate annealed as `anneal_epochs` and `anneal_start` say."""
        rate: Any = learning_rate
        if self.config.anneal_epochs:
            rate = AnnealedRate(learning_rate, self.config.anneal_epochs, steps_per_epoch, self.config.anneal_start)
        kind = InsideRootAdam if self.config.adam == "inside_root" else FusedAdam
        return kind(rate, beta_1=self.config.beta_1, epsilon=1e-8)

    def check_batch_size(self, num_images: int, replicas: int) -> None:
        """Raises a ConfigError where the replicas' batches need more images than there are."""
        if self.config.batch_size * replicas > num_images:
            on = f" on each of {replicas} replicas" if replicas > 1 else ""
            raise ConfigError(
                f"`batch_size`{on} must be at most the number of training images, {num_images}. "
                f"Received: batch_size={self.config.batch_size}"
            )
