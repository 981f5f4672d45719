"""The settings of the ImageNet GAN's recipe."""

from __future__ import annotations

import dataclasses

from igan_tf.data.sources import DATASETS
from igan_tf.errors import ConfigError
from igan_tf.experiments.configs.run_config import RunConfig
from igan_tf.networks.registry import DISCRIMINATOR_NORMS
from igan_tf.settings import Settings, setting


@dataclasses.dataclass(frozen=True)
class ClassSettings(Settings):
    """How the classes and images of the data are used."""

    topic = "Data"

    use_labels: bool = setting(True, "Let the discriminator learn the classes of the images.")
    flip: bool = setting(False, "Mirror every other image, anew in each epoch.")


@dataclasses.dataclass(frozen=True)
class SizeSettings(Settings):
    """The ImageNet GAN's networks."""

    topic = "Networks"

    gf_dim: int = setting(64, "What the generator's channels are multiples of.", low=8, high=1024)
    df_dim: int = setting(64, "What the discriminator's filters are multiples of.", low=2, high=1024)
    latent_size: int = setting(8192, "Length of z.", low=1, high=2**20)
    discriminator_norm: str = setting(
        "cross", "The discriminator's normalization; batch: each half by itself.", choices=DISCRIMINATOR_NORMS
    )


@dataclasses.dataclass(frozen=True)
class AddedTermSettings(Settings):
    """Terms beside the adversarial losses."""

    topic = "Techniques"

    feature_matching: float = setting(
        0.0, "Weight of feature matching beside the generator's adversarial loss; 0: off.", low=0
    )


@dataclasses.dataclass(frozen=True)
class ImageNetConfig(RunConfig, ClassSettings, SizeSettings, AddedTermSettings):
    """The settings of an ImageNet GAN."""

    recipe = "imagenet"

    def check(self) -> None:
        super().check()
        if self.gf_dim % 8:
            raise ConfigError(f"`gf_dim` must be a multiple of 8. Received: gf_dim={self.gf_dim}")
        if self.df_dim % 2:
            raise ConfigError(f"`df_dim` must be even. Received: df_dim={self.df_dim}")
        if DATASETS[self.dataset].streamed and self.score_epochs and self.score_classifier == "domain":
            raise ConfigError(
                "`score_epochs` needs another classifier than the small network of `score_classifier=domain` for "
                f"`dataset={self.dataset}`. Received: score_epochs={self.score_epochs}"
            )
