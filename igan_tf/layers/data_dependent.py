"""Data-dependent initialization of every layer of a model that knows how."""

from __future__ import annotations

import contextvars

import keras

from igan_tf.types import Tensor

# The layers that the pass of `data_dependent_initialization` has initialized so far; None: no such pass is on.
_initialized: contextvars.ContextVar[set | None] = contextvars.ContextVar("igan_tf_initialized", default=None)


class NothingToInitialize(ValueError):
    """A model has no layer with data-dependent initialization."""


def data_dependent_initialization(model: keras.layers.Layer, inputs: Tensor) -> Tensor:
    """Sets scales and biases from one batch, each layer's initialized output feeding the next.

    One eager pass in training mode, so with noise and dropout on. Nested layers take part: `WeightNorm` gives each
    pre-activation mean 0 and deviation `init_std`, `MinibatchDiscrimination` centers its features. A layer that the
    model uses several times is initialized at its first use. Units that are constant on `inputs` keep their values.
    A layer of your own takes part if its `call` asks `initializes_now(self)`.

    Under `tf.distribute` call it once, in the strategy's scope but outside `strategy.run`: all replicas get the same
    values.

    Args:
        model: A built `keras.Model` or layer.
        inputs: A batch of the model's inputs; the published code takes 500 examples for discriminators.

    Returns:
        The model's outputs on `inputs` after the initialization.

    Raises:
        NothingToInitialize: a ValueError, where no layer of `model` takes part.

    ```python
    model = keras.Sequential([keras.Input((4,)), WeightNorm(keras.layers.Dense(3))])
    data_dependent_initialization(model, np.random.default_rng(0).normal(size=(500, 4)))
    ```

    Reference: [Salimans and Kingma, 2016](https://arxiv.org/abs/1602.07868), section 3.
    """
    initialized: set[keras.layers.Layer] = set()
    token = _initialized.set(initialized)
    try:
        outputs = model(inputs, training=True)
    finally:
        _initialized.reset(token)
    if not initialized:
        raise NothingToInitialize(f"`model` has no layer with data-dependent initialization. Received: model={model}")
    return outputs


def initializes_now(layer: keras.layers.Layer) -> bool:
    """Tells a layer whether the call in which it asks is to initialize it, in `data_dependent_initialization`.

    Args:
        layer: The layer that asks.

    Returns:
        True once for each layer in each such pass, False otherwise.

    ```python
    class Centered(keras.layers.Layer):
        def build(self, input_shape):
            self.mean = self.add_weight(shape=input_shape[-1:], initializer="zeros")

        def call(self, inputs):
            if initializes_now(self):
                self.mean.assign(ops.mean(inputs, axis=0))
            return inputs - self.mean
    ```
    """
    initialized = _initialized.get()
    if initialized is None or layer in initialized:
        return False
    initialized.add(layer)
    return True
