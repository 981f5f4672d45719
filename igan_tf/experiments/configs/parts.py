"""The settings that recipes have in common, each with its default, its meaning and what it may be.

A recipe's config is a dataclass put together from these parts by inheritance: settings stay in one namespace, as their
flags do, and what needs a part of them says which.
"""

from __future__ import annotations

import dataclasses

from igan_tf.errors import ConfigError
from igan_tf.evaluation.names import CLASSIFIERS
from igan_tf.metrics.checks import pixel_range
from igan_tf.networks.registry import AUGMENTATIONS, GENERATOR_NORMS
from igan_tf.settings import GREATEST_SEED, MANY, Settings, setting
from igan_tf.training.profiled_steps import first_and_last
from igan_tf.training.strategies import ALL_REDUCE_MEGABYTES, STRATEGIES, WORKER_TIMEOUT_MINUTES


@dataclasses.dataclass(frozen=True)
class NetworkSettings(Settings):
    """What every recipe's networks have."""

    topic = "Networks"

    generator_norm: str = setting("batch", "The generator's normalization.", choices=GENERATOR_NORMS)
    reference_size: int = setting(
        100,
        "Examples in the reference batch of `generator_norm=virtual`.",
        low=1,
        high=10_000,
        used_with=("generator_norm=virtual",),
    )
    minibatch_discrimination: bool = setting(False, "Give the discriminator minibatch features.")
    noise: str = setting(
        "auto",
        "The discriminator's Gaussian noise: table, of shuffled quantiles, much faster on a CPU; exact, every "
        "value drawn; auto: exact where there is a GPU. flags.cfg has what it came to.",
        choices=("auto", "table", "exact"),
    )


@dataclasses.dataclass(frozen=True)
class OptimizerSettings(Settings):
    """Adam's settings, and the loop's."""

    topic = "Training"

    seed: int = setting(1, "Seed of initial weights, order of the data, latents and noise.", low=0, high=GREATEST_SEED)
    init_from: str = setting(
        "", "A run directory, or pretrained:NAME, with whose weights both networks start; empty: fresh ones.", path=True
    )
    epochs: int = setting(300, "Passes over the unlabelled data.", low=1, high=MANY, free=True)
    batch_size: int = setting(100, "Examples of each kind in a batch of each replica.", low=1, high=MANY)
    discriminator_learning_rate: float = setting(0.003, "Adam's rate for the discriminator.", low=0)
    generator_learning_rate: float = setting(0.003, "Adam's rate for the generator.", low=0)
    anneal_epochs: int = setting(0, "Epoch at which the rates reach 0; 0: they stay.", low=0, high=MANY)
    anneal_start: float = setting(
        2 / 3,
        "The share of `anneal_epochs` after which the rates begin to fall.",
        low=0,
        high=0.999999,
        used_with=("anneal_epochs",),
    )
    beta_1: float = setting(0.5, "Adam's decay of the first moment.", low=0, high=0.999999)
    adam: str = setting(
        "inside_root",
        "Where Adam has its constant 1e-8: inside_root as the published Theano code, or outside as Keras and "
        "TensorFlow.",
        choices=("inside_root", "outside"),
    )


@dataclasses.dataclass(frozen=True)
class TechniqueSettings(Settings):
    """The techniques that every recipe has."""

    topic = "Techniques"

    label_smoothing: float = setting(0.0, "The target of real data is 1 minus this.", low=0, high=0.999999)
    historical_averaging: float = setting(0.0, "Weight of the historical averaging penalty; 0: off.", low=0)
    r1_penalty: float = setting(
        0.0, "Weight of the R1 penalty on the discriminator (Mescheder et al., 2018); 0: off.", low=0
    )
    augmentation: str = setting(
        "",
        "Random changes of all images that the discriminator sees in training, for small sets (Zhao et al., 2020): one "
        f"or more of {','.join(AUGMENTATIONS)}; empty: none.",
    )
    generator_average_decay: float = setting(
        0.0,
        "Decay of a running average of the generator's weights, from which samples are then drawn; 0: none.",
        low=0,
        high=0.99999999,
    )

    def check(self) -> None:
        super().check()
        if self.augmentation and not set(self.augmentation.split(",")) <= set(AUGMENTATIONS):
            raise ConfigError(
                f"`augmentation` must be one or more of {', '.join(AUGMENTATIONS)}, with commas between. "
                f"Received: augmentation={self.augmentation}"
            )


@dataclasses.dataclass(frozen=True)
class ScoreSettings(Settings):
    """How samples are scored during training."""

    topic = "Scores during training"

    score_epochs: int = setting(
        0, "Epochs between scores of samples, the last included; 0: none.", low=0, high=MANY, free=True
    )
    score_samples: int = setting(
        5000,
        "Samples, and at most as many real images, that are scored.",
        low=20,
        high=10**7,
        used_with=("score_epochs",),
    )
    # Free to move; what it is is not: the run directory's score_protocol.json has its digest, and range and all.
    score_classifier: str = setting(
        "domain",
        "What scores them: domain, a small network trained on the data set's real images; inception; "
        "keras_inception_v3; or a .tflite file.",
        free=True,
        path=True,
        used_with=("score_epochs",),
    )
    score_classifier_range: str = setting(
        "", "The pixels black,white that a .tflite `score_classifier` of floats expects, such as -1,1.", free=True
    )

    def check(self) -> None:
        super().check()
        is_file = self.score_classifier.endswith(".tflite")
        if self.score_classifier not in CLASSIFIERS and not is_file:
            raise ConfigError(
                f"`score_classifier` must be one of {', '.join(CLASSIFIERS)}, or a .tflite file. "
                f"Received: score_classifier={self.score_classifier}"
            )
        if not self.score_classifier_range:
            return
        received = f"Received: score_classifier_range={self.score_classifier_range}"
        if not is_file:
            raise ConfigError(
                f"`score_classifier_range` is for a .tflite `score_classifier` of floats. {received} "
                f"score_classifier={self.score_classifier}"
            )
        try:
            pixel_range(self.score_classifier_range)
        except ValueError:
            raise ConfigError(f"`score_classifier_range` must be black,white, such as -1,1. {received}") from None


@dataclasses.dataclass(frozen=True)
class LogSettings(Settings):
    """What a run leaves behind, and how often."""

    topic = "Checkpoints and logs"

    checkpoint_epochs: int = setting(1, "Epochs between checkpoints.", low=1, high=MANY, free=True)
    checkpoint_minutes: float = setting(0.0, "Minutes between checkpoints inside an epoch; 0: none.", low=0, free=True)
    log_steps: int = setting(
        0, "Steps between losses in the log inside an epoch; 0: none.", low=0, high=MANY, free=True
    )
    sample_epochs: int = setting(1, "Epochs between sample grids.", low=1, high=MANY, free=True)
    sample_minutes: float = setting(0.0, "Minutes between sample grids inside an epoch; 0: none.", low=0, free=True)
    early_sample_steps: int = setting(
        0, "Steps between sample grids within the first 300 steps; 0: none.", low=0, high=MANY, free=True
    )
    histogram_epochs: int = setting(10, "Epochs between TensorBoard histograms; 0: none.", low=0, high=MANY, free=True)
    profile_steps: str = setting(
        "", "First and last step that TensorBoard's profiler records, such as 10,20; empty: none.", free=True
    )

    def check(self) -> None:
        super().check()
        if self.profile_steps and not first_and_last(self.profile_steps):
            raise ConfigError(
                "`profile_steps` must be two steps first,last, from 1 on, such as 10,20. "
                f"Received: profile_steps={self.profile_steps}"
            )


@dataclasses.dataclass(frozen=True)
class MachineSettings(Settings):
    """Devices and arithmetic."""

    topic = "Machine"

    # Not "auto": the batch is each replica's, so a second GPU would make another experiment of a paper's flag file.
    strategy: str = setting(
        "single",
        "One device; mirrored: all of this machine's; multi_worker: those of all machines in TF_CONFIG; auto: the last "
        "of these that there is occasion for.",
        choices=STRATEGIES,
    )
    expected_replicas: int = setting(
        0,
        "Refuse to train where `strategy` finds another number of devices, over all machines; 0: any number.",
        low=0,
        high=MANY,
        free=True,
    )
    worker_timeout_minutes: float = setting(
        WORKER_TIMEOUT_MINUTES,
        "The longest wait for workers in TF_CONFIG that are missing at the start.",
        low=0.01,
        high=100_000,
        free=True,
        used_with=("strategy=multi_worker", "strategy=auto"),
    )
    all_reduce_megabytes: int = setting(
        ALL_REDUCE_MEGABYTES,
        "Megabytes of gradients that replicas sum up at a time, while others are still computed; 0: all at once.",
        low=0,
        high=2**20,
        free=True,
        used_with=("strategy=mirrored", "strategy=multi_worker", "strategy=auto"),
    )
    gpu_memory_growth: bool = setting(
        False, "Take a GPU's memory as it is needed, not all at the start; for a card that others use, too.", free=True
    )
    deterministic: bool = setting(
        False,
        "Let TensorFlow use only operations that give the same bits in every run, as those of a CPU do anyhow; slower "
        "on a GPU, and operations without such a form are refused.",
        free=True,
    )
    precision: str = setting(
        "float32",
        "Precision of the networks' arithmetic; weights stay float32. Half is slower without instructions for it.",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
    )
    jit_compile: bool = setting(False, "Compile the training step with XLA.")
