"""Keras models as classifiers: InceptionV3, and files of the user's own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from igan_tf.errors import EvaluationError
from igan_tf.evaluation.classifiers.classifier import Classifier
from igan_tf.evaluation.classifiers.files import ALREADY_HERE, checked_copy
from igan_tf.files.damage import UNREADABLE_ZIP

# What Keras calls the file of the whole network.
_KERAS_FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels.h5"


def load_inception_v3(path: str | Path = "", sha256: str = "", report: Callable[[str], Any] = print) -> Classifier:
    """Loads Keras's InceptionV3 with its ImageNet weights: 1000 logits, 2048 features, inputs in [-1, 1].

    It is not the 2015 graph of the published scores: compare its figures only with each other.

    Args:
        path: The weights file; empty: Keras fetches it and checks it by its own record.
        sha256: The digest that the file must have; empty: any.
        report: Called with a line where the weights may be fetched.

    Returns:
        A `Classifier`.

    Raises:
        EvaluationError: for a file that is missing, of another digest or of another network.
    """
    if not path:
        report("keras_inception_v3: Keras fetches the weights on first use")
        path = _keras_weights()
    if Path(path).suffix != ".h5":
        raise EvaluationError(f"`path` must be an .h5 file of InceptionV3's weights. Received: path={path}")
    with _channels_last():
        model = keras.applications.InceptionV3(weights=None, classifier_activation=None)
    with checked_copy(path, sha256) as (copy, digest):
        try:
            _check_sizes(copy, 8 * model.count_params())
            model.load_weights(copy)
        # KeyError and RuntimeError: damage within an HDF5 file.
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise EvaluationError(f"`name=keras_inception_v3`: {path} holds no InceptionV3 weights: {error}") from error
    return _classifier(model, "keras_inception_v3", digest, (-1.0, 1.0))


def _check_sizes(path: Path, most_bytes: int) -> None:
    """Raises a ValueError where the arrays of an HDF5 file, which may be packed or not there, take more than that."""
    import h5py

    sizes: list[int] = []
    with h5py.File(path, "r") as file:
        file.visititems(lambda _, item: sizes.append(item.nbytes) if isinstance(item, h5py.Dataset) else None)
    if sum(sizes) > most_bytes:
        raise ValueError(f"its arrays take {sum(sizes)} bytes, the network's {most_bytes}")


@contextlib.contextmanager
def _channels_last() -> Iterator[None]:
    """In this scope Keras builds networks of images with the channels last, whatever its settings say."""
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_last")
    try:
        yield
    finally:
        keras.config.set_image_data_format(before)


def _keras_weights() -> Path:
    """Has Keras fetch the weights and returns the file in its cache."""
    try:
        with _channels_last():
            keras.applications.InceptionV3(weights="imagenet", classifier_activation=None)
    except Exception as error:
        # Keras wraps whatever urllib raised in a plain Exception.
        raise EvaluationError(
            f"`name=keras_inception_v3`: the weights cannot be fetched: {error}; {ALREADY_HERE}"
        ) from error
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    return home / "models" / _KERAS_FILE


def load_file(path: str | Path, sha256: str, trust_file: bool, value_range: tuple[float, float] | None) -> Classifier:
    """Reads a .keras file of the user's own, safe mode on.

    Its output is `(N, K)`, or a dict with "logits" and "features". A softmax at the end makes it probabilities.
    Without features in the output, they are what enters the last layer with weights.

    Args:
        path: The file.
        sha256: The digest that it must have; empty: any.
        trust_file: Whether the file may be opened.
        value_range: What it expects for black and white.

    Returns:
        A `Classifier`, its name the file's.

    Raises:
        EvaluationError: where it is not trusted, has no range, cannot be read, or is no image classifier.
    """
    if not trust_file:
        raise EvaluationError(
            f"`trust_file` must be True to open {path}: a .keras file decides which layers are made. "
            f"Received: trust_file={trust_file} path={path}"
        )
    if value_range is None:
        raise EvaluationError(
            f"`value_range` must be the pixel values black,white that {path} expects. Received: value_range=None"
        )
    # Registers this package's layers.
    import igan_tf.layers  # noqa: F401

    with checked_copy(path, sha256) as (copy, digest):
        try:
            model = keras.saving.load_model(copy, compile=False, safe_mode=True)
        except UNREADABLE_ZIP as error:
            raise EvaluationError(f"`path={path}` cannot be read: {error}") from error
    return _classifier(model, Path(path).name, digest, value_range)


def _classifier(model: keras.Model, name: str, digest: str, value_range: tuple[float, float]) -> Classifier:
    if not isinstance(model, keras.Model) or len(model.inputs or ()) != 1 or len(model.inputs[0].shape) != 4:
        raise EvaluationError(f"`path={name}` must take one batch of images. Received: {model}")
    height, width, channels = model.inputs[0].shape[1:]
    # A loaded Sequential has no `output`.
    output = model.outputs[0] if isinstance(model, keras.Sequential) else model.output
    if isinstance(output, dict) and {"logits", "features"} <= set(output):
        values, features, from_logits = output["logits"], output["features"], True
    elif isinstance(output, keras.KerasTensor) and len(output.shape) == 2:
        values, from_logits = output, not _ends_in_softmax(model)
        with_weights = [layer for layer in model.layers if layer.weights]
        if not with_weights:
            raise EvaluationError(
                f"`path={name}` must return a dict of logits and features, or have a layer with weights, whose "
                "inputs are the features. Received: a model without weights"
            )
        last = with_weights[-1]
        if isinstance(last, keras.Model):
            raise EvaluationError(
                f"`path={name}` must return a dict of logits and features: its last layer with weights is a "
                f"model, {last.name}, whose inner features are not known"
            )
        features = last.input
    else:
        raise EvaluationError(f"`path={name}` must return (N, K), or a dict of logits and features. Received: {output}")
    both = keras.Model(model.inputs, [values, features])
    return Classifier(
        tf.function(lambda images: both(images, training=False), reduce_retracing=True),
        name,
        digest,
        value_range,
        from_logits,
        input_size=None if None in (height, width) else (height, width),
        channels=channels,
    )


def _ends_in_softmax(model: keras.Model) -> bool:
    last = model.layers[-1]
    return isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) is keras.activations.softmax
