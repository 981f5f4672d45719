"""What names a data set."""

import dataclasses

from igan_tf.data.sources import DATASETS
from igan_tf.errors import ConfigError
from igan_tf.settings import MANY, Settings, setting

_OF_TFDS = tuple(f"dataset={name}" for name, dataset in DATASETS.items() if dataset.tfds)


@dataclasses.dataclass(frozen=True)
class DataSettings(Settings):
    """Which data set, where it lies, and how its images are taken."""

    topic = "Data"

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
    image_size: int = setting(
        0,
        "Height and width of images: to which `dataset=folder` resizes (0: 32), or which records must have (0: any).",
        low=0,
        high=512,
        used_with=("dataset=folder", "dataset=imagenet"),
    )
    channels: int = setting(3, "Channels of `dataset=folder`: 3 or 1.", low=1, high=3, used_with=("dataset=folder",))
    test_fraction: float = setting(
        0.2, "Part of each class that `dataset=folder` holds out.", low=0, high=0.9, used_with=("dataset=folder",)
    )
    train_images: int = setting(0, "Training images used, a fixed draw of them; 0: all.", low=0, high=MANY)

    def check(self) -> None:
        super().check()
        if 0 < self.image_size < 4:
            raise ConfigError(f"`image_size` must be 0 or at least 4. Received: image_size={self.image_size}")
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
