"""What makes two conversions of the same images the same: the settings, their defaults and bounds."""

import dataclasses

from igan_tf.errors import DataError
from igan_tf.records.example import PAYLOAD_KEYS

MOST_SHARDS = 1024
_IMAGES_PER_SHARD = 100


def _setting(default, help_text, low=None, high=None, choices=None):
    return dataclasses.field(
        default=default, metadata={"help": help_text, "low": low, "high": high, "choices": choices}
    )


@dataclasses.dataclass(frozen=True)
class ConversionSettings:
    """The settings that decide on the bytes of the shards.

    Raises:
        DataError: that names the flag and the value received.
    """

    image_size: int = _setting(128, "Height and width of the images.", low=4, high=1024)
    encoding: str = _setting("jpeg", "How pixels are stored: jpeg, or raw bytes.", choices=tuple(PAYLOAD_KEYS))
    jpeg_quality: int = _setting(95, "Quality of --encoding=jpeg; colours keep their full resolution.", low=1, high=100)
    num_shards: int = _setting(
        0, f"Number of files; 0: one for every {_IMAGES_PER_SHARD} images, at most {MOST_SHARDS}.", low=0, high=99999
    )
    seed: int = _setting(1, "Seed of the one shuffle.", low=0, high=2**31 - 1)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            check_setting(field.name, getattr(self, field.name), **_limits(field))

    def with_shards_for(self, num_images):
        """The same settings with the number of shards that 0 stands for.

        Raises:
            DataError: for more shards than images.
        """
        if self.num_shards > num_images:
            raise DataError(
                f"--num_shards must be at most the number of images, {num_images}. "
                f"Received: --num_shards={self.num_shards}"
            )
        shards = self.num_shards or min(MOST_SHARDS, -(-num_images // _IMAGES_PER_SHARD))
        return dataclasses.replace(self, num_shards=shards)


def check_setting(name, value, low=None, high=None, choices=None):
    """Raises a DataError that names the flag where `value` is not allowed."""
    received = f"Received: --{name}={value}"
    if choices and value not in choices:
        raise DataError(f"--{name} must be one of {', '.join(choices)}. {received}")
    # "not >=" also refuses a NaN.
    if low is not None and not low <= value:
        raise DataError(f"--{name} must be at least {low}. {received}")
    if high is not None and not value <= high:
        raise DataError(f"--{name} must be at most {high}. {received}")


def _limits(field):
    return {name: field.metadata[name] for name in ("low", "high", "choices")}
