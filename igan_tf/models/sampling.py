"""Images from latents, for every model with a generator."""

import math

import keras
import numpy as np
import tensorflow as tf

from igan_tf.layers import VirtualBatchNorm, freeze_reference
from igan_tf.models.randomness import drawing_from, fold_in

BATCH_SIZE = 100


class LatentSampling:
    """What a Keras model needs to be sampled from, to inherit from before `keras.Model`.

    The model has the attributes `generator`, a built `keras.Model`, `(N, latent_size)` -> images, and `latent_range`,
    the bounds of the uniform distribution of z.

    Images are drawn in whole batches of which the last is cut: batch statistics make an image depend on the others of
    its batch. Batch b is a function of (seed, b, the batch size, the weights) alone, whatever was drawn before it.

    A generator with virtual batch normalization is sampled without a reference in each batch: when the first batch is
    drawn, a copy of it gets the weights of that moment and is frozen (`igan_tf.layers.freeze_reference`). The
    generator itself is left alone, so that training may go on, and be traced, while a sampler waits for its consumer.
    """

    @property
    def latent_size(self):
        """Numbers in one z."""
        return self.generator.input_shape[-1]

    def generate(self, count, seed, batch_size=BATCH_SIZE):
        """Returns `count` images as a NumPy array, a function of `seed`, the batch size and the weights alone."""
        return np.concatenate(list(self.generate_batches(count, seed, batch_size)))

    def generate_batches(self, count, seed, batch_size=BATCH_SIZE, batches=None):
        """Yields the images of `generate` batch by batch, for more of them than memory holds.

        Args:
            count: How many images there are in all.
            seed: Of latents and noise.
            batch_size: Images in a batch.
            batches: Numbers of the batches to yield, from 0, where only some are wanted; None: all.
        """
        draw = self._sampler()
        for index in range(math.ceil(count / batch_size)) if batches is None else batches:
            key = fold_in(tf.constant([seed, 1], tf.int32), index)
            yield draw(key, tf.constant(batch_size))[: count - index * batch_size].numpy()

    def _draw_latents(self, count, key):
        low, high = self.latent_range
        return tf.random.stateless_uniform((count, self.latent_size), key, low, high)

    def _sampler(self):
        """The function that draws a batch with the weights of this moment, traced once in the model's life."""
        if getattr(self, "_sampling", None) is None:
            self._sampling = _Sampling(self)
        self._sampling.refresh()
        return self._sampling.draw


class _Sampling:
    """A model's traced sampling function and the generator in it.

    No Keras object, so that the copy's weights do not become the model's.
    """

    def __init__(self, model):
        self._original = self._generator = model.generator
        self._virtual = any(isinstance(layer, VirtualBatchNorm) for layer in model.generator._flatten_layers())
        if self._virtual:
            self._generator = keras.models.clone_model(model.generator)

        def draw(key, batch_size):
            latents = model._draw_latents(batch_size, fold_in(key, 0))
            with drawing_from(self._generator, fold_in(key, 1)):
                return tf.cast(self._generator(latents, training=False), model.variable_dtype)

        self.draw = tf.function(draw, reduce_retracing=True)

    def refresh(self):
        """Brings a frozen copy up to date, which takes one pass over the reference."""
        if self._virtual:
            for copied, variable in zip(self._generator.weights, self._original.weights):
                copied.assign(variable)
            freeze_reference(self._generator)
