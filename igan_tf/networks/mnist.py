"""MNIST's networks as published, for images of any size in [0, 1]."""

from __future__ import annotations

from typing import Any

import keras

from igan_tf.networks import dense
from igan_tf.networks.parts import scaled
from igan_tf.networks.registry import NETWORKS


def build_generator(
    image_shape: tuple[int, int, int] = (28, 28, 1),
    latent_size: int = 100,
    norm: str = "batch",
    reference_size: int = 100,
    width: float = 1.0,
) -> keras.Model:
    """Builds z of 100 -> 500 -> 500 -> image. See `igan_tf.networks.dense.build_generator`.

    As published, every kernel starts Glorot uniform.
    """
    return dense.build_generator(
        image_shape,
        scaled((500, 500), width),
        latent_size,
        NETWORKS["mnist"].latent_range,
        norm,
        reference_size,
        pixels_initializer="glorot_uniform",
    )


def build_discriminator(
    image_shape: tuple[int, int, int] = (28, 28, 1),
    num_outputs: int = 10,
    minibatch_discrimination: bool = False,
    width: float = 1.0,
    **settings: Any,
) -> keras.Model:
    """Builds image -> 1000 -> 500 -> 250 -> 250 -> 250 -> logits.

    See `dense.build_discriminator`, which takes `settings`.
    """
    return dense.build_discriminator(
        image_shape,
        hidden_units=scaled((1000, 500, 250, 250, 250), width),
        num_outputs=num_outputs,
        input_noise=0.3,
        hidden_noise=0.5,
        minibatch_discrimination=minibatch_discrimination,
        **settings,
    )
