"""Parts that the networks share."""

from __future__ import annotations

from typing import Any

import keras

from igan_tf.layers import BatchStatisticsNorm, DropReference, PrependReference, VirtualBatchNorm, WeightNorm
from igan_tf.networks.registry import DISCRIMINATOR_WEIGHT_NORMS, GENERATOR_NORMS
from igan_tf.precision import output_layers
from igan_tf.types import Tensor


class GeneratorNorm:
    """Puts one kind of normalization into a generator's functional graph.

    Args:
        kind: "batch": the batch's own statistics; "virtual": a fixed reference batch's and the example's; "none".
            "batch" and "virtual" have a `beta`, which may serve as the layer's bias.
        reference_size: Examples in the reference batch of "virtual".
        scale: Whether "batch" and "virtual" have a `gamma`.

    Raises:
        ValueError: for another kind.

    ```python
    norm = GeneratorNorm("virtual", reference_size=100)
    latents = keras.Input((100,))
    hidden = norm.begin(latents, latent_range=(0.0, 1.0))
    hidden = norm(keras.layers.Dense(500, use_bias=norm.use_bias)(hidden), name="norm_1")
    generator = keras.Model(latents, norm.end(hidden))
    ```
    """

    def __init__(self, kind: str = "batch", reference_size: int = 100, scale: bool = False) -> None:
        if kind not in GENERATOR_NORMS:
            raise ValueError(f"`norm` must be one of {GENERATOR_NORMS}. Received: norm={kind!r}")
        self.kind = kind
        self.reference_size = reference_size
        self.scale = scale

    @property
    def use_bias(self) -> bool:
        """Tells whether the layer before needs a bias of its own."""
        return self.kind == "none"

    def begin(self, latents: Tensor, latent_range: tuple[float, float]) -> Tensor:
        """Puts the reference latents in front, drawn from what the others are drawn from."""
        if self.kind != "virtual":
            return latents
        low, high = latent_range
        return PrependReference(self.reference_size, minval=low, maxval=high, name="reference")(latents)

    def __call__(self, hidden: Tensor, name: str) -> Tensor:
        if self.kind == "none":
            return hidden
        if self.kind == "batch":
            return BatchStatisticsNorm(scale=self.scale, name=name)(hidden)
        return VirtualBatchNorm(self.reference_size, scale=self.scale, name=name)(hidden)

    def end(self, hidden: Tensor) -> Tensor:
        """Removes the reference rows, after the last normalization."""
        if self.kind != "virtual":
            return hidden
        return DropReference(self.reference_size, name="examples")(hidden)


def normalized_weights(layer: keras.layers.Layer, kind: str, **settings: Any) -> keras.layers.Layer:
    """Wraps a discriminator's dense layer or convolution in a normalization of its weights.

    Args:
        layer: Its name becomes the wrapper's.
        kind: "weight": `WeightNorm`. "spectral": `keras.layers.SpectralNormalization`, which in training divides the
            kernel by its largest singular value ([Miyato et al., 2018](https://arxiv.org/abs/1802.05957)) and keeps the
            quotient. "none": the layer itself.
        **settings: `WeightNorm` arguments.

    Raises:
        ValueError: for another kind.
    """
    if kind not in DISCRIMINATOR_WEIGHT_NORMS:
        raise ValueError(f"`weight_norm` must be one of {DISCRIMINATOR_WEIGHT_NORMS}. Received: weight_norm={kind!r}")
    if kind == "weight":
        return WeightNorm(layer, name=layer.name, **settings)
    if kind == "spectral":
        # In the weights' own precision: in mixed precision the quotient that it keeps would be rounded to half.
        return keras.layers.SpectralNormalization(layer, name=layer.name, dtype=layer.variable_dtype)
    return layer


def logits(hidden: Tensor, num_outputs: int, kernel_stddev: float, weight_norm: str, **settings: Any) -> Tensor:
    """Puts a discriminator's last layer, in float32 at least, behind `hidden`.

    Args:
        hidden: `(N, units)`.
        num_outputs: Number of logits.
        kernel_stddev: Deviation of the kernel's start.
        weight_norm, **settings: See `normalized_weights`.
    """
    with output_layers():
        layer = keras.layers.Dense(num_outputs, kernel_initializer=normal(kernel_stddev), name="logits")
        return normalized_weights(layer, weight_norm, **settings)(hidden)


def normal(stddev: float) -> keras.initializers.Initializer:
    """Returns a kernel initializer; every layer needs one of its own to draw its own values."""
    return keras.initializers.RandomNormal(stddev=stddev)


def scaled(sizes: tuple[int, ...], width: float) -> tuple[int, ...]:
    """Returns numbers of units or filters times `width`, at least 1."""
    return tuple(max(1, round(size * width)) for size in sizes)
