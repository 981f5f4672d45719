"""What the checks of `benchmarks.gpu_check` share: sizes, lines, and the machine with what is trained on it."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from benchmarks import imagenet

CLASSES = 1000


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is computed; the defaults are those of the paper's ImageNet experiment."""

    side: int = 128
    gf_dim: int = 64
    df_dim: int = 64
    latent_size: int = 8192
    batches: tuple = (16, 4)
    steps: int = 20
    compiled_batches: tuple = (16,)
    precisions: tuple = ("float32", "mixed_bfloat16")
    # Numbers in the gradients of D and of G.
    gradients: tuple = (67_500_000, 72_250_000)
    pairs: tuple = ((32, 300, 50), (128, 300, 50))
    product: int = 4096
    images: int = 2048


SMALL = Sizes(
    side=32,
    gf_dim=8,
    df_dim=2,
    latent_size=8,
    batches=(2,),
    steps=2,
    compiled_batches=(),
    precisions=("float32",),
    gradients=(3000, 5000),
    pairs=((4, 3, 2),),
    product=64,
    images=8,
)


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        name: Of what was measured.
        figures: JSON-serialisable values by name.
        verdict: "ok", "look", or empty where there is nothing to judge.
        note: What to do about it.
    """

    name: str
    figures: dict
    verdict: str = ""
    note: str = ""

    def __str__(self):
        shown = "  ".join(f"{name} {_short(value)}" for name, value in self.figures.items())
        return f"{self.verdict or '-':5s} {self.name:42s} {shown}" + (f"\n      {self.note}" if self.note else "")


def _short(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class Machine:
    """What all checks share: devices, sizes, and what one has found for another.

    Args:
        sizes: The `Sizes`.
        expected_replicas: How many devices there should be; 0: any number.
    """

    def __init__(self, sizes, expected_replicas=0):
        self.sizes = sizes
        self.expected_replicas = expected_replicas
        self.gpus = tf.config.list_logical_devices("GPU")
        self.devices = self.gpus or tf.config.list_logical_devices("CPU")
        # Seconds of a full step of one replica, float32, at the first batch size.
        self.step_seconds = None

    def build_model(self, precision="float32", optimizer=imagenet.OPTIMIZER, strategy=None):
        """A compiled model of these sizes, its weights the same at every call."""
        sizes, shape = self.sizes, (self.sizes.side, self.sizes.side, 3)
        with (strategy or tf.distribute.get_strategy()).scope():
            keras.utils.set_random_seed(0)
            model = imagenet.build_model(precision, shape, sizes.latent_size, sizes.gf_dim, sizes.df_dim, optimizer)
        model.discriminator.get_layer("corruption").exact = bool(self.gpus)
        return model

    def batch(self, count):
        """A batch as the reader gives it."""
        images = np.random.default_rng(0).integers(0, 256, (count, self.sizes.side, self.sizes.side, 3), "uint8")
        return {"images": tf.constant(images), "labels": tf.range(count, dtype=tf.int64) % CLASSES}
