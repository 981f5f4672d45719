"""Small networks for scikit-learn's 8x8 digits: MNIST's, thinner."""

from __future__ import annotations

from typing import Any

import keras

from igan_tf.networks import dense
from igan_tf.networks.parts import scaled
from igan_tf.networks.registry import NETWORKS


def build_generator(
    image_shape: tuple[int, int, int] = (8, 8, 1),
    latent_size: int = 50,
    norm: str = "batch",
    reference_size: int = 100,
    width: float = 1.0,
) -> keras.Model:
    """Builds z of 50 -> 128 -> 128 -> image. See `igan_tf.networks.dense.build_generator`."""
    return dense.build_generator(
        image_shape, scaled((128, 128), width), latent_size, NETWORKS["digits"].latent_range, norm, reference_size
    )


def build_discriminator(
    image_shape: tuple[int, int, int] = (8, 8, 1),
    num_outputs: int = 10,
    minibatch_discrimination: bool = False,
    width: float = 1.0,
    **settings: Any,
) -> keras.Model:
    """Builds image -> 250 -> 125 -> 125 -> logits. See `dense.build_discriminator`, which takes `settings`."""
    return dense.build_discriminator(
        image_shape,
        hidden_units=scaled((250, 125, 125), width),
        num_outputs=num_outputs,
        input_noise=0.15,
        hidden_noise=0.3,
        minibatch_discrimination=minibatch_discrimination,
        **settings,
    )
