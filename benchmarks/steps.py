"""Training steps of this package's networks, beside their products, other precisions and PyTorch's."""

import dataclasses
import importlib.util
from collections.abc import Callable
from importlib.metadata import version

import tensorflow as tf

from benchmarks.products import run_one_after_another
from benchmarks.timing import in_another_process, ratio
from igan_tf.models import SemiSupervisedGAN
from igan_tf.optimizers import InsideRootAdam
from igan_tf.precision import dtype_policy

BATCH = 100


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A training step of full width on one fixed batch.

    Attributes:
        name: As of `benchmarks.pytorch`.
        build_model: A function of a dtype policy to a compiled model.
        batch: A function to the batch.
        products: A function to the `Product`s that a step cannot do without.
        repetitions: How often a step is timed.
    """

    name: str
    build_model: Callable
    batch: Callable
    products: Callable
    repetitions: int = 5

    def step(self, precision="float32"):
        """`train_step`, as a function that finishes its work."""
        return finishing(tf.function(self.build_model(precision).train_step), self.batch())

    def step_ratio(self):
        """Seconds of a step over those of its products one after another."""
        products = self.products()
        listed = {f"product {index:2d}": str(product) for index, product in enumerate(products, start=1)}
        alone = run_one_after_another(products)
        return ratio(("step", self.step()), ("products", alone), self.repetitions, **listed)

    def bfloat16_ratio(self):
        """Seconds of a step in mixed_bfloat16 over those in float32."""
        steps = [(precision, self.step(precision)) for precision in ("mixed_bfloat16", "float32")]
        return ratio(*steps, self.repetitions)

    def pytorch_ratio(self, precision="float32"):
        """Seconds of PyTorch's step over those of ours; None where PyTorch is not installed."""
        if importlib.util.find_spec("torch") is None:
            return None
        with in_another_process("benchmarks.pytorch", self.name, precision) as theirs:
            return ratio((f"PyTorch {version('torch')}", theirs), ("ours", self.step(precision)), self.repetitions)


def build_model(network, learning_rate, precision, **compile_settings):
    """A compiled `SemiSupervisedGAN`.

    Args:
        network: Module of `igan_tf.networks`.
        learning_rate: Of both players.
        precision: The dtype policy.
        **compile_settings: Of `SemiSupervisedGAN.compile`.
    """
    with dtype_policy(precision):
        model = SemiSupervisedGAN(network.build_generator(), network.build_discriminator())
        model.compile(InsideRootAdam(learning_rate), InsideRootAdam(learning_rate), **compile_settings)
    return model


def training_batch(image_shape):
    """One batch of 100 images of each kind."""
    images = tf.random.uniform((3, BATCH, *image_shape))
    return {
        "labelled_images": images[0],
        "labels": tf.range(BATCH) % 10,
        "unlabelled_images": images[1],
        "unlabelled_images_2": images[2],
    }


def finishing(function, *arguments):
    """A call of the `tf.function` that returns once its work is done."""
    return lambda: [value.numpy() for value in function(*arguments).values()]
