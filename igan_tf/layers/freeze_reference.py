"""Switches a model between training with its reference batch and sampling without it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import keras
import numpy as np
from keras import ops

from igan_tf.layers.prepend_reference import PrependReference
from igan_tf.layers.reference_layer import ReferenceLayer
from igan_tf.layers.virtual_batch_norm import VirtualBatchNorm, record_reference_statistics
from igan_tf.types import Tensor


def freeze_reference(model: keras.layers.Layer, inputs: Tensor = None) -> keras.layers.Layer:
    """Stores the reference statistics of every `VirtualBatchNorm` in `model`, so that sampling needs no reference.

    Runs the reference batch through the model once, eagerly and with training=False, and switches every layer that
    knows of it (`PrependReference`, `VirtualBatchNorm`, `ConcatenateNoise`, `DropReference`), nested models included,
    to frozen. A frozen model gives the same output from one pass over the examples alone. It saves and reloads
    frozen; its weights files have the shapes of any other. A frozen layer refuses training=True: call
    `unfreeze_reference`, which forgets the statistics, before further training. Freezing a frozen model again takes the
    statistics anew. Seeds are left as they were. On an error the model is as before.

    `fit`, `evaluate` and `predict` trace anew afterwards: those of `model`, of the models in it, of an outer model that
    has called it, and of this package's GAN that trains it. A `tf.function` (or `jax.jit`) of your own keeps what it
    traced before: make it after freezing. So does a Keras model whose own `train_step` calls `model`: call its
    `make_train_function(force=True)`.

    Args:
        model: A Keras model, or one layer that holds others.
        inputs: One batch of examples, of any values, to call the model with. It may be left out where the model
            knows its input shapes, as functional and sequential models do.

    Returns:
        `model`.

    Raises:
        ValueError: where `model` has no `VirtualBatchNorm`, the reference sizes in it differ, its inputs are unknown,
            or one of its `VirtualBatchNorm` layers is not called exactly once in a pass.

    ```python
    layers = [PrependReference(16), keras.layers.Dense(64), VirtualBatchNorm(16), DropReference(16)]
    model = keras.Sequential([keras.Input((100,)), *layers])
    freeze_reference(model)
    one = model(np.zeros((1, 100)))
    unfreeze_reference(model)
    ```
    """
    layers = _reference_layers(model)
    _check_reference_sizes(model, layers)
    before = [layer.frozen for layer in layers]
    _set_frozen(layers, [False] * len(layers))
    try:
        statistics = _reference_pass(model, inputs, [layer for layer in layers if isinstance(layer, VirtualBatchNorm)])
    except BaseException:
        _set_frozen(layers, before)
        raise
    for layer, (mean, variance) in statistics:
        layer.store_reference(mean, variance)
    _set_frozen(layers, [True] * len(layers))
    _renew_functions(model, layers)
    return model


def unfreeze_reference(model: keras.layers.Layer) -> keras.layers.Layer:
    """Undoes `freeze_reference`: the reference travels with the batch again, the stored statistics are forgotten.

    Args:
        model: A Keras model, or one layer that holds others.

    Returns:
        `model`.

    Raises:
        ValueError: where `model` has no `VirtualBatchNorm`.
    """
    layers = _reference_layers(model)
    _set_frozen(layers, [False] * len(layers))
    for layer in layers:
        if isinstance(layer, VirtualBatchNorm):
            layer.forget_reference()
    _renew_functions(model, layers)
    return model


def _reference_layers(model: keras.layers.Layer) -> list[ReferenceLayer]:
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, ReferenceLayer)]
    if not any(isinstance(layer, VirtualBatchNorm) for layer in layers):
        raise ValueError(
            f"Only a model with a VirtualBatchNorm layer can be frozen or unfrozen. Received: model={model.name!r} "
            "without one"
        )
    return layers


def _check_reference_sizes(model: keras.layers.Layer, layers: Sequence[ReferenceLayer]) -> None:
    prepending = [layer for layer in layers if isinstance(layer, PrependReference)]
    sizes = {layer.name: layer.reference_size for layer in layers if layer.reference_size}
    # With several references in one model each may have its own size.
    if len(prepending) == 1 and len(set(sizes.values())) > 1:
        raise ValueError(
            f"Every layer needs the `reference_size` of the PrependReference layer, {prepending[0].reference_size}. "
            f"Received: model={model.name!r} with reference_size by layer {sizes}"
        )


def _set_frozen(layers: Iterable[ReferenceLayer], values: Iterable[bool]) -> None:
    for layer, value in zip(layers, values):
        layer.frozen = value


def _reference_pass(
    model: keras.layers.Layer, inputs: Tensor, norms: Sequence[VirtualBatchNorm]
) -> list[tuple[VirtualBatchNorm, tuple[np.ndarray, np.ndarray]]]:
    """List of (layer, (mean, variance)) of a pass over the reference."""
    if inputs is None:
        inputs = _placeholder_inputs(model)
    # Noise layers draw in the pass; the sequence that comes after must not depend on it.
    weights = {id(weight) for weight in model.weights}
    states = [(state, ops.copy(state.value)) for state in model.variables if id(state) not in weights]
    try:
        with record_reference_statistics() as record:
            model(inputs, training=False)
    finally:
        for state, value in states:
            state.assign(value)
    for layer in norms:
        if len(record.get(layer, [])) != 1:
            raise ValueError(
                f"freeze_reference needs each VirtualBatchNorm to be called once in a pass of the model. Received: "
                f"layer {layer.name!r}, called {len(record.get(layer, []))} times in model={model.name!r}"
            )
    return [(layer, tuple(ops.convert_to_numpy(ops.stop_gradient(s)) for s in record[layer][0])) for layer in norms]


def _placeholder_inputs(model: keras.layers.Layer) -> Tensor:
    """A batch of one example of zeros: no reference row depends on it."""
    symbolic = getattr(model, "inputs", None)
    if not symbolic or any(None in tensor.shape[1:] for tensor in symbolic):
        raise ValueError(
            "freeze_reference needs `inputs`, one batch to call the model with, where the model does not know the "
            f"shapes of its inputs. Received: inputs=None for model={model.name!r}"
        )

    def zeros(tensor: Tensor) -> Tensor:
        return ops.zeros((tensor.shape[0] or 1, *tensor.shape[1:]), dtype=tensor.dtype)

    if len(symbolic) == 1:
        return zeros(symbolic[0])
    return keras.tree.map_structure(zeros, model.input)


def _renew_functions(model: keras.layers.Layer, layers: Iterable[ReferenceLayer]) -> None:
    """Makes the functions anew that were traced with the layers as they were."""
    callers = [caller for layer in layers if isinstance(layer, VirtualBatchNorm) for caller in layer.callers]
    for user in {id(user): user for user in (*model._flatten_layers(), *callers)}.values():
        if not isinstance(user, keras.Model):
            continue
        for kind in ("train", "test", "predict"):
            # Not None: a callback of `fit` may freeze its model, sample from it and unfreeze it.
            if getattr(user, f"{kind}_function") is not None:
                getattr(user, f"make_{kind}_function")(force=True)
