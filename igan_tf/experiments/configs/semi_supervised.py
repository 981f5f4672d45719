"""The settings of the semi-supervised GAN's recipe."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from igan_tf.data.sources import DATASETS
from igan_tf.errors import ConfigError
from igan_tf.experiments.configs.run_config import RunConfig
from igan_tf.models.objectives import GENERATOR_OBJECTIVES
from igan_tf.networks.registry import CHOICES, DISCRIMINATOR_WEIGHT_NORMS, INPUT_CORRUPTIONS, NETWORKS
from igan_tf.settings import GREATEST_SEED, MANY, Settings, setting

# Settings, and what the functions that build the networks call them.
_OF_BUILDERS = {
    "generator_norm": "norm",
    "network_width": "width",
    "minibatch_discrimination": "minibatch_discrimination",
    "discriminator_weight_norm": "weight_norm",
    "input_corruption": "corruption",
}


@dataclasses.dataclass(frozen=True)
class LabelSettings(Settings):
    """Which training examples keep their labels."""

    topic = "Data"

    labels: int = setting(
        100, "Labelled training examples in all, the same number of each class; 0: none.", low=0, high=MANY
    )
    # Free to move; what it says is not: checkpoints know the labelled examples.
    label_file: str = setting(
        "",
        "File of `index,label` lines, index counted from 0 in the training images: its labels stand in for the data "
        "set's. All of them are used, unless `balance` says to draw.",
        free=True,
        path=True,
    )
    balance: bool | None = setting(
        None,
        "Draw `labels` examples: --balance the same number of each class, by the labels of `label_file` where there is "
        "one; --nobalance the first of a permutation by `seed_data`. By default all of a `label_file`, else balanced.",
        optional=True,
        kind=bool,
    )
    seed_data: int = setting(
        1, "Seed of the draw of the labelled subset.", low=0, high=GREATEST_SEED, used_with=("labels",)
    )


@dataclasses.dataclass(frozen=True)
class PlayerSettings(Settings):
    """The semi-supervised GAN's networks."""

    topic = "Networks"

    network: str = setting(
        "auto",
        "Networks; auto: the data set's own. In Python, igan_tf.networks.register adds yours.",
        choices=CHOICES,
    )
    network_width: float = setting(1.0, "Factor on the networks' units and filters.", low=0.01, high=16)
    discriminator_weight_norm: str = setting(
        "weight",
        "The normalization of the discriminator's weights; all but weight start without data-dependent initialization.",
        choices=DISCRIMINATOR_WEIGHT_NORMS,
    )
    input_corruption: str = setting(
        "auto",
        "What the discriminator's images are disturbed by; auto: noise in dense networks and beside minibatch "
        "discrimination, dropout in other convolutional ones.",
        choices=INPUT_CORRUPTIONS,
    )
    initialization_examples: int = setting(
        500,
        "Examples that the discriminator's data-dependent initialization sees; 0: none.",
        low=0,
        high=MANY,
        used_with=("discriminator_weight_norm=weight",),
    )


@dataclasses.dataclass(frozen=True)
class ObjectiveSettings(Settings):
    """What the semi-supervised GAN's players minimise."""

    topic = "Techniques"

    generator_objective: str = setting(
        "feature_matching", "What the generator minimises.", choices=GENERATOR_OBJECTIVES
    )
    feature_matching_norm: str = setting(
        "l2",
        "Squared or absolute difference of mean features.",
        choices=("l2", "l1"),
        used_with=("generator_objective=feature_matching",),
    )
    unlabelled_weight: float = setting(1.0, "Weight of the unsupervised loss.", low=0)
    generator_steps: int = setting(1, "Generator updates after each discriminator update.", low=0, high=1000)
    average_decay: float = setting(
        0.9999, "Decay of the running average of weights that is evaluated.", low=0, high=0.99999999
    )
    average_debias: bool = setting(True, "Correct that average for its start at 0, which the published code does not.")


@dataclasses.dataclass(frozen=True)
class ComparisonSettings(Settings):
    """Runs beside the run."""

    topic = "Runs beside the run"

    label_draws: int = setting(
        1,
        "How many labelled subsets to train on, one after the other: `seed_data`, `seed_data` + 1, ...",
        low=1,
        high=10_000,
    )
    supervised_baseline: bool = setting(
        False, "First train the same discriminator on the labelled examples alone, for comparison."
    )


@dataclasses.dataclass(frozen=True)
class SemiSupervisedConfig(RunConfig, LabelSettings, PlayerSettings, ObjectiveSettings, ComparisonSettings):
    """The settings of a semi-supervised GAN. Defaults are the published MNIST experiment's."""

    recipe = "semi_supervised"
    inherited_used_with: ClassVar = {
        **RunConfig.inherited_used_with,
        "label_smoothing": ("unlabelled_weight",),
        "generator_learning_rate": ("generator_steps",),
    }

    @property
    def labelled(self) -> bool:
        """Whether any training example has a label."""
        return bool(self.labels or self.label_file)

    @property
    def network_name(self) -> str:
        """The networks that "auto" stands for."""
        return DATASETS[self.dataset].network if self.network == "auto" else self.network

    def check(self) -> None:
        super().check()
        if self.jit_compile and self.strategy != "single":
            raise ConfigError(
                "`jit_compile` goes with `strategy=single` alone, but in `recipe=imagenet`. "
                f"Received: strategy={self.strategy}"
            )
        if self.label_file and self.balance is None and self.label_draws > 1:
            raise ConfigError(
                "`label_file` without `balance` gives one labelled subset: it does not go with "
                f"`label_draws={self.label_draws}`"
            )
        if self.balance is not None and not self.labels:
            raise ConfigError(f"`balance` needs `labels`, how many to draw. Received: balance={self.balance} labels=0")
        last_seed = self.seed_data + self.label_draws - 1
        if last_seed > GREATEST_SEED:
            raise ConfigError(
                f"`seed_data` + `label_draws` - 1 must be at most {GREATEST_SEED}. "
                f"Received: seed_data={self.seed_data} label_draws={self.label_draws}"
            )
        if self.input_corruption not in ("auto", *NETWORKS[self.network_name].input_corruptions):
            raise ConfigError(
                f"`network={self.network_name}` has no such corruption. "
                f"Received: input_corruption={self.input_corruption}"
            )
        taken = NETWORKS[self.network_name].arguments()
        for name, argument in _OF_BUILDERS.items():
            value = getattr(self, name)
            if taken is not None and argument not in taken and value != type(self).__dataclass_fields__[name].default:
                raise ConfigError(f"`network={self.network_name}` has no such setting. Received: {name}={value}")
        if self.historical_averaging and self.discriminator_weight_norm == "spectral":
            raise ConfigError(
                "`historical_averaging` does not go with `discriminator_weight_norm=spectral`, which rewrites the "
                f"kernels in every pass. Received: historical_averaging={self.historical_averaging}"
            )
        if self.supervised_baseline and not self.labelled:
            raise ConfigError("`supervised_baseline` needs labelled examples. Received: labels=0")
        if not self.generator_steps and self.unlabelled_weight:
            raise ConfigError(
                "`generator_steps=0` needs `unlabelled_weight=0`: an untrained generator is no opponent. "
                f"Received: unlabelled_weight={self.unlabelled_weight}"
            )
        if self.generator_steps and not self.unlabelled_weight and self.generator_objective != "feature_matching":
            raise ConfigError(
                f"`generator_objective={self.generator_objective}` needs a discriminator that is trained to tell real "
                f"from generated. Received: unlabelled_weight={self.unlabelled_weight}"
            )
        if not (self.labelled or self.unlabelled_weight):
            raise ConfigError("nothing to train on. Received: labels=0 with unlabelled_weight=0")
