"""Which networks there are, and what a training has to know of them before it builds them.

Imports neither Keras nor TensorFlow: a command refuses a wrong `network` at once.
"""

from __future__ import annotations

import collections
import dataclasses
import importlib
import inspect
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from igan_tf.errors import ConfigError

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
        name: What `network` calls them.
        module: Where they are built: a module with `build_generator(image_shape, latent_size, norm, reference_size,
            width)` and `build_discriminator(image_shape, num_outputs, minibatch_discrimination, width, corruption)`.
        builders: These two functions themselves, in the module's place.
        latent_range: Bounds of the uniform distribution of z.
        smallest_side: The smallest side of an image.
        input_corruptions: What can disturb the discriminator's images: "noise", "dropout".
        initializes_generator: Whether the generator, too, is initialized from data.
        initializes_from_labelled: Whether the discriminator is initialized from labelled examples.
    """

    name: str
    module: str = ""
    builders: tuple[Callable[..., keras.Model], Callable[..., keras.Model]] | None = None
    latent_range: tuple[float, float] = (0.0, 1.0)
    smallest_side: int = 1
    input_corruptions: tuple[str, ...] = ("noise",)
    initializes_generator: bool = False
    initializes_from_labelled: bool = False

    def build_generator(self, *args: Any, **kwargs: Any) -> keras.Model:
        """See the module."""
        if not self.builders:
            return importlib.import_module(self.module).build_generator(*args, **kwargs)
        generator = self._build(self.builders[0], *args, **kwargs)
        if tuple(generator.output_shape[1:]) != tuple(args[0]):
            raise ConfigError(
                f"the generator of `network={self.name}` must give images of the shape {tuple(args[0])}. "
                f"Received: {tuple(generator.output_shape[1:])}"
            )
        return generator

    def build_discriminator(self, *args: Any, **kwargs: Any) -> keras.Model:
        """See the module."""
        if not self.builders:
            return importlib.import_module(self.module).build_discriminator(*args, **kwargs)
        discriminator = self._build(self.builders[1], *args, **kwargs)
        shapes, count = _shapes(discriminator.output), kwargs["num_outputs"]
        if shapes.get("logits") != (count,) or "features" not in shapes:
            raise ConfigError(
                f"the discriminator of `network={self.name}` must give a dict of 'logits', (N, {count}), and "
                f"'features'. Received: {shapes}"
            )
        return discriminator

    def _build(self, builder: Callable[..., keras.Model], *args: Any, **kwargs: Any) -> keras.Model:
        network = builder(*args, **{name: value for name, value in kwargs.items() if name in _arguments(builder)})
        # NumPy, by which checkpoints are written, does not read such types back.
        narrow = sorted({v.dtype for v in network.variables if v.dtype.startswith(("bfloat16", "float8"))})
        if narrow:
            raise ConfigError(
                f"`network={self.name}` must have variables of types that NumPy has, such as float32, as they are "
                f"where a mixed policy computes in others. Received: {', '.join(narrow)}"
            )
        return network

    def arguments(self) -> Collection[str] | None:
        """The arguments of both functions; None of the package's own networks, which take all."""
        return self.builders and {name for builder in self.builders for name in _arguments(builder)}

    def takes(self, height: int, width: int) -> bool:
        """Whether images of this size fit."""
        return min(height, width) >= self.smallest_side


def _arguments(builder: Callable[..., Any]) -> Collection[str]:
    return inspect.signature(builder).parameters


def _shapes(output: Any) -> dict[str, Any]:
    """The shapes of a model's outputs without the batch's axis, by name; of no dict, under no name."""
    named = output if isinstance(output, dict) else {"": output}
    return {name: tuple(value.shape[1:]) for name, value in named.items()}


# In D nothing is left of smaller images. As published, both players are initialized from data: D from labelled
# examples, G from a batch of latents.
_convolutional: dict[str, Any] = {
    "smallest_side": 9,
    "input_corruptions": ("dropout", "noise"),
    "initializes_generator": True,
    "initializes_from_labelled": True,
}


def _of_this_package(name: str, **about: Any) -> Network:
    return Network(name, f"igan_tf.networks.{name}", **about)


# What `network` chooses from.
NETWORKS = {
    "digits": _of_this_package("digits"),
    "mnist": _of_this_package("mnist"),
    "mnist_convolutional": _of_this_package("mnist_convolutional", **_convolutional),
    "cifar10": _of_this_package("cifar10", **_convolutional),
    "svhn": _of_this_package("svhn", **_convolutional),
    "strided": _of_this_package("strided"),
}
# A view, which knows of those that are registered later.
CHOICES: Collection[str] = collections.ChainMap[str, Any](NETWORKS, {"auto": None}).keys()


def register(
    name: str,
    build_generator: Callable[..., keras.Model],
    build_discriminator: Callable[..., keras.Model],
    latent_range: tuple[float, float] = (0.0, 1.0),
    smallest_side: int = 1,
) -> Network:
    """Gives networks of your own a name, which `network` then takes: in `igan_tf.train`, `load_run` and the commands.

    A run's directory knows the name alone: register them before you train, and in each process that opens the run.

    Args:
        name: The name.
        build_generator: Function of the images' shape `(height, width, channels)` that returns a built `keras.Model`,
            `(N, latent_size)` -> images in [0, 1].
        build_discriminator: Function of the same and `num_outputs` that returns a built `keras.Model`, images ->
            `{"logits": (N, num_outputs), "features": (N, ...)}`. Both functions may take settings: `width`, of
            `network_width`; the first `norm` and `reference_size`, the second `minibatch_discrimination`, `weight_norm`
            and `corruption`. A setting that neither takes is refused.
        latent_range: Bounds of the uniform distribution of z.
        smallest_side: The smallest side of an image.

    Returns:
        The `Network`.

    Raises:
        ConfigError: for a name of this package's networks.

    ```python
    import igan_tf
    import keras

    def generator(image_shape):
        z = keras.Input((20,))
        x = keras.layers.Dense(64, activation="relu")(z)
        x = keras.layers.Dense(image_shape[0] * image_shape[1] * image_shape[2], activation="sigmoid")(x)
        return keras.Model(z, keras.layers.Reshape(image_shape)(x))

    def discriminator(image_shape, num_outputs):
        images = keras.Input(image_shape)
        features = keras.layers.Dense(64, activation="relu")(keras.layers.Flatten()(images))
        return keras.Model(images, {"logits": keras.layers.Dense(num_outputs)(features), "features": features})

    igan_tf.networks.register("mine", generator, discriminator)
    igan_tf.train("digits", "runs/mine", network="mine", epochs=1, label_draws=1, supervised_baseline=False)
    ```
    """
    if name == "auto" or (name in NETWORKS and not NETWORKS[name].builders):
        raise ConfigError(f"`name` must not be that of this package's own networks. Received: name={name}")
    NETWORKS[name] = Network(
        name,
        builders=(build_generator, build_discriminator),
        latent_range=latent_range,
        smallest_side=smallest_side,
        input_corruptions=("noise", "dropout"),
    )
    return NETWORKS[name]
