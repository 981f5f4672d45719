"""Data-dependent initialization of every layer of a model that knows how."""

import contextlib


def data_dependent_initialization(model, inputs):
    """Sets scales and biases from one batch, each layer's initialized output feeding the next.

    One eager pass in training mode, so with noise and dropout on. Every layer with a method
    `data_dependent_initialize(inputs) -> outputs` takes part, nested ones included: `WeightNorm` gives each
    pre-activation mean 0 and deviation `init_std`, `MinibatchDiscrimination` centres its features. A layer that the
    model uses several times is initialized at its first use. Units that are constant on `inputs` keep their values.

    Under `tf.distribute` call it once, in the strategy's scope but outside `strategy.run`: all replicas get the same
    values.

    Args:
        model: A built `keras.Model` or layer.
        inputs: A batch of the model's inputs; the published code takes 500 examples for discriminators.

    Returns:
        The model's outputs on `inputs` after the initialization.

    Raises:
        ValueError: if no layer of `model` takes part.

    Reference:
        [Salimans and Kingma, 2016](https://arxiv.org/abs/1602.07868), section 3.
    """
    layers = [layer for layer in model._flatten_layers() if hasattr(layer, "data_dependent_initialize")]
    if not layers:
        raise ValueError(f"`model` has no layer with data-dependent initialization. Received: model={model}")
    with contextlib.ExitStack() as stack:
        for layer in layers:
            stack.enter_context(_initializing(layer))
        return model(inputs, training=True)


@contextlib.contextmanager
def _initializing(layer):
    """Lets `layer`'s first call initialize it. `call` itself stays free of assignments."""
    ordinary_call = layer.call
    done = False

    def call(*args, **kwargs):
        nonlocal done
        if done:
            return ordinary_call(*args, **kwargs)
        done = True
        return layer.data_dependent_initialize(*args, **kwargs)

    layer.call = call
    try:
        yield
    finally:
        del layer.call
