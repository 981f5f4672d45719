"""Images from latents, for every model with a generator."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from igan_tf.errors import DataError
from igan_tf.layers import BatchStatisticsNorm, VirtualBatchNorm, freeze_reference
from igan_tf.models.parameter_average import ParameterAverage
from igan_tf.models.randomness import drawing_from, fold_in
from igan_tf.models.user_data import check_integer

BATCH_SIZE = 100


class LatentSampling:
    """Lets a Keras model be sampled from; inherit from it before `keras.Model`.

    The model has the attributes `generator`, a built `keras.Model`, `(N, latent_size)` -> images, and `latent_range`,
    the bounds of the uniform distribution of z. It may have `generator_average`, a `ParameterAverage` of the
    generator's trainable variables, or None.

    Images are drawn in whole batches of which the last is cut: batch statistics make an image depend on the others of
    its batch. Batch b is a function of (seed, b, the batch size, the weights) alone, whatever was drawn before it.

    A generator with virtual batch normalization is sampled without a reference in each batch: when the first batch is
    drawn, a copy of it gets the weights of that moment and is frozen (`igan_tf.layers.freeze_reference`). An averaged
    generator is a copy as well, with the averages of that moment. The generator itself is left alone, so that training
    may go on, and be traced, while a sampler waits for its consumer.
    """

    generator: keras.Model
    latent_range: Sequence[float]
    variable_dtype: str
    _samplings: dict[str, _Sampling]

    @property
    def latent_size(self) -> int:
        """Numbers in one z."""
        return self.generator.input_shape[-1]

    def generate(self, count: int, seed: int, batch_size: int = BATCH_SIZE, averaged: bool | None = None) -> np.ndarray:
        """Draws images.

        Args:
            count: How many.
            seed: Of latents and noise.
            batch_size: Images in a batch.
            averaged: Whether the generator has the running average of its parameters (before the first update: the
                parameters themselves). None: if the model keeps an average.

        Returns:
            `(count, height, width, channels)`, a function of `seed`, the batch size and the weights alone.

        Raises:
            ValueError: for a `count` or `batch_size` below 1, a negative `seed`, and `averaged=True` where the model
                keeps no average.
        """
        return np.concatenate(list(self.generate_batches(count, seed, batch_size, averaged=averaged)))

    def generate_batches(
        self,
        count: int,
        seed: int,
        batch_size: int = BATCH_SIZE,
        batches: Iterable[int] | None = None,
        averaged: bool | None = None,
    ) -> Iterator[np.ndarray]:
        """Yields the images of `generate` batch by batch, for more of them than memory holds.

        Args:
            count: How many images there are in all.
            seed: Of latents and noise.
            batch_size: Images in a batch.
            batches: Numbers of the batches to yield, from 0, where only some are wanted; None: all.
            averaged: As of `generate`.

        Raises:
            ValueError: for `averaged=True` where the model keeps no average, and with the first batch for what
                `generate` refuses.
        """
        check_integer("count", count, 1)
        check_integer("batch_size", batch_size, 1)
        check_integer("seed", seed, 0)
        draw = self._sampler(averaged).draw
        for index in range(math.ceil(count / batch_size)) if batches is None else batches:
            key = fold_in(tf.constant([seed, 1], tf.int32), index)
            yield draw(key, tf.constant(batch_size))[: count - index * batch_size].numpy()

    def generate_from(
        self, latents: np.ndarray, seed: int = 0, batch_size: int = BATCH_SIZE, averaged: bool | None = None
    ) -> Iterator[np.ndarray]:
        """Yields the images of given latents batch by batch.

        Where the generator normalizes by the statistics of its batch, nine tenths of each batch are drawn at random and
        thrown away: an image then hangs on its own latent, not on how alike those are that were given with it.

        Args:
            latents: `(N, latent_size)`, finite numbers; the model draws its own from `latent_range`.
            seed: Of the generator's noise and of what is thrown away.
            batch_size: Images in a batch.
            averaged: As of `generate`.

        Raises:
            DataError: for latents of another form.
            ValueError: for what `generate` refuses.
        """
        latents = np.asarray(latents)
        if latents.ndim != 2 or latents.shape[1] != self.latent_size or latents.dtype.kind not in "iuf":
            raise DataError(
                f"`latents` must be an array of numbers, (N, {self.latent_size}). "
                f"Received: {latents.dtype.name} of shape {latents.shape}"
            )
        if not len(latents) or not np.isfinite(latents).all():
            raise DataError("`latents` must be one or more, all of them finite. Received: none or an infinite number")
        check_integer("batch_size", batch_size, 1)
        check_integer("seed", seed, 0)
        couples = any(isinstance(layer, BatchStatisticsNorm) for layer in self.generator._flatten_layers())
        size = max(1, batch_size // 10) if couples else batch_size
        draw = self._sampler(averaged).draw_from
        for index, start in enumerate(range(0, len(latents), size)):
            given = tf.cast(latents[start : start + size], tf.float32)
            key = fold_in(tf.constant([seed, 3], tf.int32), index)
            yield draw(given, key, tf.constant(batch_size))[: len(given)].numpy()

    def _draw_latents(self, count: int | tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        low, high = self.latent_range
        return tf.random.stateless_uniform((count, self.latent_size), key, low, high)

    def _sampler(self, averaged: bool | None = None) -> _Sampling:
        """The functions that draw a batch with the weights of this moment, traced once in the model's life."""
        average = getattr(self, "generator_average", None)
        if averaged and average is None:
            raise ValueError(
                "`averaged` needs a model compiled with `generator_average_decay` above 0. Received: averaged=True"
            )
        if averaged is False:
            average = None
        if getattr(self, "_samplings", None) is None:
            self._samplings = {}
        kind = "present" if average is None else "averaged"
        if kind not in self._samplings:
            self._samplings[kind] = _Sampling(self, average)
        self._samplings[kind].refresh()
        return self._samplings[kind]


class _Sampling:
    """A model's traced sampling functions and the generator in them.

    No Keras object, so that the copy's weights do not become the model's.
    """

    def __init__(self, model: LatentSampling, average: ParameterAverage | None) -> None:
        self._original = self._generator = model.generator
        self._average = average
        self._virtual = any(isinstance(layer, VirtualBatchNorm) for layer in model.generator._flatten_layers())
        if self._virtual or average is not None:
            self._generator = _copy_of(model.generator)

        def images(latents: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
            with drawing_from(self._generator, fold_in(key, 1)):
                return tf.cast(self._generator(latents, training=False), model.variable_dtype)

        def draw(key: tf.Tensor, batch_size: tf.Tensor) -> tf.Tensor:
            return images(model._draw_latents(batch_size, fold_in(key, 0)), key)

        def draw_from(latents: tf.Tensor, key: tf.Tensor, batch_size: tf.Tensor) -> tf.Tensor:
            others = model._draw_latents(batch_size - tf.shape(latents)[0], fold_in(key, 0))
            return images(tf.concat([latents, others], axis=0), key)

        self.draw = tf.function(draw, reduce_retracing=True, autograph=False)
        self.draw_from = tf.function(draw_from, reduce_retracing=True, autograph=False)

    def refresh(self) -> None:
        """Brings a copy up to date, which takes one pass over the reference if there is one."""
        if self._generator is self._original:
            return
        copies = {}
        for copied, variable in zip(self._generator.weights, self._original.weights):
            copied.assign(variable)
            copies[id(variable)] = copied
        if self._average is not None and self._average.count.value.numpy() > 0:
            # Also those that were frozen since.
            for variable, value in zip(self._average.tracked(), self._average.values()):
                copies[id(variable)].assign(value)
        if self._virtual:
            freeze_reference(self._generator)


def _copy_of(network: keras.Model) -> keras.Model:
    """A network of the same layers with weights of its own; it shares `Lambda`s, which Keras refuses to copy."""
    if not any(isinstance(layer, keras.layers.Lambda) for layer in network._flatten_layers()):
        return keras.models.clone_model(network)
    return keras.models.clone_model(
        network,
        clone_function=lambda layer: (
            layer if isinstance(layer, keras.layers.Lambda) else layer.__class__.from_config(layer.get_config())
        ),
        recursive=True,
    )
