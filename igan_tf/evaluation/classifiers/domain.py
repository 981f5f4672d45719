"""A small network trained on a data set's own real images: for digits an ImageNet network means nothing."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from igan_tf.data.image_data import ImageData
from igan_tf.errors import EvaluationError, InputError, counted
from igan_tf.evaluation.classifiers.classifier import Classifier
from igan_tf.files import disk, durable, json_files, locks
from igan_tf.files.arrays import Array, read_arrays
from igan_tf.images.arrays import as_unit_range

# What decides the weights; with the data it is the cache's key.
SETTINGS: dict[str, Any] = {
    "version": 1,
    "filters": [32, 64, 96, 128, 128, 128],
    "smallest_side": 7,
    "features": 128,
    "dropout": 0.5,
    "batch_size": 100,
    "learning_rate": 0.001,
    "epochs": 3,
    "least_steps": 1000,
    "seed": 0,
}


# What a cached file says of itself.
_ABOUT = json_files.record(
    {
        "key": json_files.SHA256,
        "weights": json_files.SHA256,
        "test_error": json_files.optional(json_files.decimal(0, 1)),
    },
    # What that is the error of; older files lack it.
    {"test_set": json_files.SHA256},
)


def build_network(image_shape: tuple[int, int, int], num_classes: int, seed: int) -> keras.Model:
    """`[conv 3x3, ReLU, max pool 2x2] * n -> dense 128, ReLU (features) -> dropout -> dense (logits)`.

    Pools until no side is above 7. Initial weights and dropout are functions of `seed` alone; the process's own random
    state, and so a training run's, is not touched.

    Args:
        image_shape: `(height, width, channels)`.
        num_classes: K.
        seed: Of weights and dropout.

    Returns:
        A `keras.Model`: images in [0, 1] -> {"logits": (N, K), "features": (N, 128)}.
    """
    seeds = iter(range(1000 * seed, 1000 * (seed + 1)))

    def initializer(kind: type = keras.initializers.HeNormal) -> keras.initializers.Initializer:
        return kind(seed=next(seeds))

    images = keras.Input(image_shape)
    hidden = images
    for filters in SETTINGS["filters"]:
        hidden = keras.layers.Conv2D(
            filters, 3, padding="same", data_format="channels_last", activation="relu", kernel_initializer=initializer()
        )(hidden)
        hidden = keras.layers.MaxPooling2D(2, padding="same", data_format="channels_last")(hidden)
        if max(hidden.shape[1:3]) <= SETTINGS["smallest_side"]:
            break
    hidden = keras.layers.Flatten(data_format="channels_last")(hidden)
    features = keras.layers.Dense(SETTINGS["features"], activation="relu", kernel_initializer=initializer())(hidden)
    hidden = keras.layers.Dropout(SETTINGS["dropout"], seed=next(seeds))(features)
    logits = keras.layers.Dense(num_classes, kernel_initializer=initializer(keras.initializers.GlorotUniform))(hidden)
    return keras.Model(images, {"logits": logits, "features": features}, name="domain_classifier")


def train_network(
    images: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    seed: int = SETTINGS["seed"],
    least_steps: int = SETTINGS["least_steps"],
) -> keras.Model:
    """Trains the network of `build_network` on labelled images, by Adam, without augmentation.

    Args:
        images: `(N, height, width, channels)`, uint8, or floating point in [0, 1].
        labels: `(N,)` integers from 0 to `num_classes - 1`.
        num_classes: K.
        seed: Of weights, order and dropout.
        least_steps: The fewest updates; a small set is passed over more often.

    Returns:
        The trained `keras.Model`.

    Raises:
        EvaluationError: where nothing is labelled.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if not len(images) or num_classes < 2:
        raise EvaluationError(
            "a classifier needs labelled images of at least 2 classes. "
            f"Received: {counted(len(images), 'image')} of {counted(num_classes, 'class')}"
        )
    batch_size = min(SETTINGS["batch_size"], len(images))
    steps_per_epoch = len(images) // batch_size
    epochs = max(SETTINGS["epochs"], math.ceil(least_steps / steps_per_epoch))
    model = build_network(images.shape[1:], num_classes, seed)
    logits_alone = keras.Model(model.inputs, model.output["logits"])
    logits_alone.compile(
        keras.optimizers.Adam(SETTINGS["learning_rate"]), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    generator = np.random.default_rng(seed)
    for _ in range(epochs):
        order = generator.permutation(len(images))[: steps_per_epoch * batch_size]
        for rows in order.reshape(steps_per_epoch, batch_size):
            logits_alone.train_on_batch(as_unit_range(images[rows]), labels[rows])
    return model


def error_of(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> float:
    """The fraction of images whose highest of the network's "logits" is not their class."""
    wrong = 0
    for start in range(0, len(images), 500):
        rows = slice(start, start + 500)
        logits = np.asarray(model(as_unit_range(images[rows]), training=False)["logits"])
        wrong += int(np.sum(logits.argmax(axis=-1) != labels[rows]))
    return wrong / len(images)


def load(
    data: ImageData,
    data_name: str,
    cache: str | Path,
    report: Callable[[str], Any] = print,
    sha256: str = "",
) -> Classifier:
    """Reads a data set's classifier from the cache, or trains it on the labelled training images and caches it.

    Of several processes that want the same one, the first trains it; the others wait and read it. Two trainings need
    not end with the same bits on different machines.

    Args:
        data: The `ImageData`.
        data_name: What it is called.
        cache: Folder of trained networks.
        report: Called with each line for the user.
        sha256: The digest that the weights must have; empty: any.

    Returns:
        A `Classifier` named `domain(<data_name>)`; its digest is that of the weights.

    Raises:
        EvaluationError: for data without labels, a damaged or altered file, another digest.
    """
    labelled = data.train_labels >= 0
    if not labelled.any() or data.num_classes < 2:
        raise EvaluationError(
            f"`name=domain` needs labelled training images of at least 2 classes. Received: {data_name} "
            f"with {counted(int(labelled.sum()), 'labelled image')} of {counted(data.num_classes, 'class')}"
        )
    model, weights, error = _cached_or_trained(data, labelled, data_name, Path(cache), report)
    if sha256 and sha256.lower() != weights:
        raise EvaluationError(
            f"`sha256` must be the digest of the domain classifier's weights, {weights}. Received: sha256={sha256}"
        )

    @tf.function(reduce_retracing=True, autograph=False)
    def outputs(pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        result = model(pixels, training=False)
        return result["logits"], result["features"]

    height, width, channels = data.image_shape
    return Classifier(
        outputs, f"domain({data_name})", weights, (0.0, 1.0), True, (height, width), channels, test_error=error
    )


def _cached_or_trained(
    data: ImageData, labelled: np.ndarray, data_name: str, cache: Path, report: Callable[[str], Any]
) -> tuple[keras.Model, str, float | None]:
    """The network, the digest of its weights, and its test error where there are test images."""
    images, labels = data.train_images[labelled], data.train_labels[labelled]
    key = _digest_of([SETTINGS, data.num_classes], images, labels)
    path = cache / f"domain-{key[:20]}.npz"
    # A cache that others fill need not be writable by this process.
    if not path.exists():
        try:
            disk.make_folder(path.parent, parents=True)
            with locks.sole_maker(path, lambda: report(f"waiting for another process that trains {path}")):
                if not path.exists():
                    found = f"{counted(len(images), 'image')} of {data_name}"
                    report(f"training the domain classifier on {found}, once, for minutes; {path} will keep it")
                    model = train_network(images, labels, data.num_classes)
                    return model, *_save(model, path, key, data, report)
        except OSError as error:
            raise EvaluationError(f"`cache_dir`: {path} cannot be written: {error}") from error
    model = build_network(data.image_shape, data.num_classes, SETTINGS["seed"])
    return model, *_restore(model, path, key, data)


def _digest_of(settings: list[Any], images: np.ndarray, labels: np.ndarray) -> str:
    digest = hashlib.sha256(json.dumps([*settings, images.shape, str(images.dtype)]).encode())
    digest.update(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(labels.astype("int64")).data)
    return digest.hexdigest()


def _names(weights: list[np.ndarray]) -> list[str]:
    """What the cached file calls a network's weights."""
    return [f"weights_{index:02d}" for index in range(len(weights))]


def _weights_digest(weights: list[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in weights:
        digest.update(f"{array.shape}".encode())
        digest.update(np.ascontiguousarray(array.astype("float32")).data)
    return digest.hexdigest()


def _save(
    model: keras.Model, path: Path, key: str, data: ImageData, report: Callable[[str], Any]
) -> tuple[str, float | None]:
    """Writes the cached file of a network and returns the digest of its weights and its test error."""
    error = _test_error(model, data)
    weights = model.get_weights()
    digest = _weights_digest(weights)
    test_set = _digest_of([], data.test_images, data.test_labels)
    about = {"key": key, "weights": digest, "test_error": error, "test_set": test_set}
    arrays = dict(zip(_names(weights), weights))
    with durable.durable_file(path) as file:
        np.savez(file, about=np.frombuffer(json.dumps(about).encode(), "uint8"), **arrays)
    report("domain classifier: " + ("there are no test images" if error is None else f"test error {error:.4g}"))
    return digest, error


def _test_error(model: keras.Model, data: ImageData) -> float | None:
    """The network's test error; None where there are no test images."""
    return error_of(model, data.test_images, data.test_labels) if len(data.test_images) else None


def _restore(model: keras.Model, path: Path, key: str, data: ImageData) -> tuple[str, float | None]:
    """Gives `model` the weights of a cached file and returns their digest and the network's test error."""
    expected = model.get_weights()
    names = _names(expected)
    needed = {name: Array((array.dtype.name,), array.shape) for name, array in zip(names, expected)}
    try:
        arrays = read_arrays(path, {"about": Array(("uint8",), (None,)), **needed})
        about = json_files.parse(arrays["about"].tobytes(), _ABOUT, path)
    except (OSError, InputError) as error:
        raise EvaluationError(f"the cached classifier {error}; delete it to train anew") from error
    weights = [arrays[name] for name in names]
    if about["key"] == key and about["weights"] == _weights_digest(weights):
        model.set_weights(weights)
    else:
        raise EvaluationError(
            f"the cached classifier {path} was altered: its weights do not have the digest that it records; delete it "
            "to train anew"
        )
    # The test images may have changed since, which takes no new training.
    known = about.get("test_set") == _digest_of([], data.test_images, data.test_labels)
    return about["weights"], about["test_error"] if known else _test_error(model, data)
