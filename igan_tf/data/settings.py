"""What names a data set."""

import dataclasses
from typing import ClassVar

from igan_tf.data.sources import DATASETS
from igan_tf.errors import ConfigError
from igan_tf.images.settings import ImageFileSettings
from igan_tf.settings import MANY, fields_of, setting

_SIDES = (4, 512)
_OF_TFDS = tuple(f"dataset={name}" for name, dataset in DATASETS.items() if dataset.tfds)


@dataclasses.dataclass(frozen=True)
class DataSettings(ImageFileSettings):
    """Which data set, where it lies, and how its images are taken."""

    topic = "Data"
    inherited_used_with: ClassVar = {field.name: ("dataset=folder",) for field in fields_of(ImageFileSettings)}

    dataset: str = setting("mnist", "What to train on.", choices=tuple(DATASETS))
    data_dir: str = setting(
        "",
        "Folder of the TFDS data, of the images of `dataset=folder`, or of the records of `dataset=imagenet`.",
        free=True,
        path=True,
        used_with=tuple(f"dataset={name}" for name in DATASETS if name != "digits"),
    )
    train_split: str = setting("", "Split of TFDS to train on, such as test[:8000]; empty: train.", used_with=_OF_TFDS)
    test_split: str = setting("", "Split of TFDS to test on; empty: test.", used_with=_OF_TFDS)
    image_size: str = setting(
        "0",
        "Size of images, such as 64, or HEIGHTxWIDTH: what `dataset=folder` makes of them (0: 32), or what records "
        "must have (0: any).",
        used_with=("dataset=folder", "dataset=imagenet"),
    )
    channels: int = setting(3, "Channels of `dataset=folder`: 3 or 1.", low=1, high=3, used_with=("dataset=folder",))
    test_fraction: float = setting(
        0.2, "Part of each class that `dataset=folder` holds out.", low=0, high=0.9, used_with=("dataset=folder",)
    )
    train_images: int = setting(0, "Training images used, a fixed draw of them; 0: all.", low=0, high=MANY)

    @property
    def size(self) -> tuple[int, int] | None:
        """`(height, width)` of `image_size`; None where it leaves them open.

        Raises:
            ConfigError: for an `image_size` that is no size.
        """
        parts = self.image_size.split("x")
        if not (1 <= len(parts) <= 2 and all(part.isascii() and part.isdigit() and len(part) <= 9 for part in parts)):
            raise ConfigError(
                "`image_size` must be a size such as 64, or HEIGHTxWIDTH such as 64x96. "
                f"Received: image_size={self.image_size}"
            )
        height, width = int(parts[0]), int(parts[-1])
        return (height, width) if height or width else None

    def __post_init__(self) -> None:
        # One spelling of a size; in Python it may be a number.
        height, separator, width = str(self.image_size).partition("x")
        object.__setattr__(self, "image_size", height if height == width else f"{height}{separator}{width}")
        super().__post_init__()

    def check(self) -> None:
        super().check()
        size = self.size
        if size and not (_SIDES[0] <= min(size) and max(size) <= _SIDES[1]):
            raise ConfigError(
                f"`image_size` must be 0, or from {_SIDES[0]} to {_SIDES[1]}. Received: image_size={self.image_size}"
            )
        if self.channels == 2:
            raise ConfigError("`channels` must be 1 or 3. Received: channels=2")
        for name in ("train_split", "test_split"):
            if getattr(self, name) and not DATASETS[self.dataset].tfds:
                raise ConfigError(
                    f"`{name}` is for data sets of TFDS, not for `dataset={self.dataset}`. "
                    f"Received: {name}={getattr(self, name)}"
                )
        if self.dataset == "folder" and not self.data_dir:
            raise ConfigError("`dataset=folder` needs `data_dir`, the folder of images. Received: data_dir=")
