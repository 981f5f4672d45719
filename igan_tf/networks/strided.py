"""Small convolutional networks with strides of 2 and a dense layer, for images in [0, 1] such as MNIST's.

This package's own, made for good samples by minibatch discrimination within hours on a CPU.
"""

from __future__ import annotations

from typing import Any

import keras

from igan_tf.layers import MinibatchDiscrimination, TableGaussianNoise
from igan_tf.networks import convolutional
from igan_tf.networks.convolutional import KERNEL_STDDEV
from igan_tf.networks.parts import logits, normal, normalized_weights, scaled
from igan_tf.networks.registry import NETWORKS

_NOISE = 0.5


def build_generator(
    image_shape: tuple[int, int, int] = (28, 28, 1),
    latent_size: int = 100,
    norm: str = "batch",
    reference_size: int = 100,
    width: float = 1.0,
) -> keras.Model:
    """Builds z of 100 -> 7x7x64 -> 14x14x32 -> image, by a sigmoid. See `convolutional.build_generator`.

    As in the published convolutional networks each unit of the dense layer has statistics of its own: what all images
    share would outweigh z otherwise.
    """
    filters, latent_range = scaled((64, 32), width), NETWORKS["strided"].latent_range
    return convolutional.build_generator(
        image_shape, latent_size, filters, latent_range, norm, reference_size, centred=False
    )


def build_discriminator(
    image_shape: tuple[int, int, int] = (28, 28, 1),
    num_outputs: int = 10,
    minibatch_discrimination: bool = False,
    width: float = 1.0,
    corruption: str = "auto",
    weight_norm: str = "weight",
) -> keras.Model:
    """Builds 5x5 convolution / 2, 32 -> one of 64 -> dense 256 -> logits, noise of 0.5 before each but the logits.

    Leaky ReLU after each, weight-normalized. The features are the dense layer's; the minibatch features, 50 kernels of
    5, come after them.

    Args:
        image_shape: `(height, width, channels)`.
        num_outputs: Number of logits.
        minibatch_discrimination: Whether the minibatch features are appended to the features.
        width: Factor on the filters and units.
        corruption: "auto" or "noise", which are the same here.
        weight_norm: "weight", "spectral" or "none", see `normalized_weights`.

    Returns:
        A `keras.Model`: images -> `{"logits": (N, num_outputs), "features": (N, 256 width)}`.

    Raises:
        ValueError: for another `corruption` or `weight_norm`.
    """
    if corruption not in ("auto", "noise"):
        raise ValueError(f"`corruption` must be 'auto' or 'noise'. Received: corruption={corruption!r}")
    *filters, units = scaled((32, 64, 256), width)

    def settings(name: str) -> dict[str, Any]:
        return {"activation": "leaky_relu", "kernel_initializer": normal(KERNEL_STDDEV), "name": name}

    images = keras.Input(image_shape, name="images")
    hidden = images
    for index, count in enumerate(filters, start=1):
        hidden = TableGaussianNoise(_NOISE, name=f"noise_{index}")(hidden)
        layer = keras.layers.Conv2D(
            count, 5, strides=2, padding="same", data_format="channels_last", **settings(f"conv_{index}")
        )
        hidden = normalized_weights(layer, weight_norm, train_scale=False)(hidden)
    hidden = TableGaussianNoise(_NOISE, name="noise_3")(
        keras.layers.Flatten(data_format="channels_last", name="flatten")(hidden)
    )
    layer = keras.layers.Dense(units, **settings("dense_3"))
    features = normalized_weights(layer, weight_norm, train_scale=False)(hidden)
    hidden = features
    if minibatch_discrimination:
        hidden = MinibatchDiscrimination(num_kernels=50, kernel_dim=5, name="minibatch_discrimination")(features)
    outputs = {"logits": logits(hidden, num_outputs, KERNEL_STDDEV, weight_norm), "features": features}
    return keras.Model(images, outputs, name="discriminator")
