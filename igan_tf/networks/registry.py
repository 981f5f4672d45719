"""Which networks there are, and what a training has to know of them before it builds them.

Imports neither Keras nor TensorFlow: a command refuses a wrong `network` at once.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

GENERATOR_NORMS = ("batch", "virtual", "none")
DISCRIMINATOR_NORMS = ("cross", "batch", "none")
DISCRIMINATOR_WEIGHT_NORMS = ("weight", "spectral", "none")
AUGMENTATIONS = ("color", "translation", "cutout")
INPUT_CORRUPTIONS = ("auto", "noise", "dropout")


@dataclasses.dataclass(frozen=True)
class Network:
    """A generator and a discriminator for `SemiSupervisedGAN`.

    Attributes:
        module: Where they are built: a module with `build_generator(image_shape, latent_size, norm, reference_size,
            width)` and `build_discriminator(image_shape, num_outputs, minibatch_discrimination, width, corruption)`.
        latent_range: Bounds of the uniform distribution of z.
        smallest_side: The smallest side of an image.
        input_corruptions: What can disturb the discriminator's images: "noise", "dropout".
        initializes_generator: Whether the generator, too, is initialized from data.
        initializes_from_labelled: Whether the discriminator is initialized from labelled examples.
    """

    module: str
    latent_range: tuple[float, float] = (0.0, 1.0)
    smallest_side: int = 1
    input_corruptions: tuple[str, ...] = ("noise",)
    initializes_generator: bool = False
    initializes_from_labelled: bool = False

    def build_generator(self, *args: Any, **kwargs: Any) -> keras.Model:
        """See the module."""
        return importlib.import_module(self.module).build_generator(*args, **kwargs)

    def build_discriminator(self, *args: Any, **kwargs: Any) -> keras.Model:
        """See the module."""
        return importlib.import_module(self.module).build_discriminator(*args, **kwargs)

    def takes(self, height: int, width: int) -> bool:
        """Whether images of this size fit."""
        return min(height, width) >= self.smallest_side


# In D nothing is left of smaller images. As published, both players are initialized from data: D from labelled
# examples, G from a batch of latents.
_convolutional: dict[str, Any] = {
    "smallest_side": 9,
    "input_corruptions": ("dropout", "noise"),
    "initializes_generator": True,
    "initializes_from_labelled": True,
}

# What `network` chooses from.
NETWORKS = {
    "digits": Network("igan_tf.networks.digits"),
    "mnist": Network("igan_tf.networks.mnist"),
    "mnist_convolutional": Network("igan_tf.networks.mnist_convolutional", **_convolutional),
    "cifar10": Network("igan_tf.networks.cifar10", **_convolutional),
    "svhn": Network("igan_tf.networks.svhn", **_convolutional),
    "strided": Network("igan_tf.networks.strided"),
}
