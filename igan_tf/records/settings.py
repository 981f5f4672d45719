"""The settings of a conversion, with their defaults and bounds."""

import dataclasses

from igan_tf.errors import ConfigError
from igan_tf.images.settings import DecodingSettings, UnreadableSettings
from igan_tf.records.example import PAYLOAD_KEYS
from igan_tf.settings import GREATEST_SEED, setting

MOST_SHARDS = 1024
_IMAGES_PER_SHARD = 100


@dataclasses.dataclass(frozen=True)
class ConversionSettings(DecodingSettings):
    """The settings that decide on the bytes of the shards.

    Raises:
        ConfigError: that names the setting and the value received.
    """

    topic = "The records"

    image_size: int = setting(128, "Height and width of the images.", low=4, high=1024)
    encoding: str = setting("jpeg", "How pixels are stored: jpeg, or raw bytes.", choices=tuple(PAYLOAD_KEYS))
    jpeg_quality: int = setting(
        95,
        "Quality of `encoding=jpeg`; colours keep their full resolution.",
        low=1,
        high=100,
        used_with=("encoding=jpeg",),
    )
    num_shards: int = setting(
        0, f"Number of files; 0: one for every {_IMAGES_PER_SHARD} images, at most {MOST_SHARDS}.", low=0, high=99999
    )
    seed: int = setting(1, "Seed of the one shuffle.", low=0, high=GREATEST_SEED)

    @property
    def most_record_bytes(self) -> int:
        """More than an image takes as a record: of noise, at the highest quality, a JPEG has 3.3 times its pixels."""
        return 4 * 3 * self.image_size**2 + 4096

    def with_shards_for(self, num_images: int) -> "ConversionSettings":
        """The same settings with the number of shards that 0 stands for.

        Raises:
            ConfigError: for more shards than images.
        """
        if self.num_shards > num_images:
            raise ConfigError(
                f"`num_shards` must be at most the number of images, {num_images}. "
                f"Received: num_shards={self.num_shards}"
            )
        shards = self.num_shards or min(MOST_SHARDS, -(-num_images // _IMAGES_PER_SHARD))
        return dataclasses.replace(self, num_shards=shards)


@dataclasses.dataclass(frozen=True)
class WorkSettings(UnreadableSettings):
    """How a conversion is carried out; no byte of a shard depends on it.

    Raises:
        ConfigError: that names the setting and the value received.
    """

    topic = "The work"

    processes: int = setting(0, "Processes at work; 0: one a processor.", low=0, high=4096)
