"""Classifiers: images in, logits or probabilities and features out.

What needs TensorFlow is imported on first use.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from igan_tf.errors import EvaluationError, renamed
from igan_tf.evaluation.classifiers.files import cache_folder
from igan_tf.evaluation.names import CLASSIFIERS, PROTOCOLS

if TYPE_CHECKING:
    from igan_tf.data import ImageData
    from igan_tf.evaluation.classifiers.classifier import Classifier


def load_classifier(
    name: str,
    path: str | Path = "",
    sha256: str = "",
    trust_file: bool = False,
    value_range: tuple[float, float] | None = None,
    protocol: str = "default",
    data: ImageData | None = None,
    data_name: str = "",
    cache_dir: str | Path | None = None,
    report: Callable[[str], Any] = print,
) -> Classifier:
    """Loads, fetches or trains a classifier.

    Args:
        name: "inception": the 2015 graph; "keras_inception_v3"; "domain": a small network trained on `data`; or a
            file's path, .tflite or .keras.
        path: The weights of the first two, of "inception" as `inception.load` takes them; empty: they are fetched on
            first use, of "inception" TF-GAN's.
        sha256: The digest that the weights must have; empty: any.
        trust_file: Whether a .keras file may be opened, which decides which layers are made; whether the graph of
            "inception" may have operations that are not known to be arithmetic alone.
        value_range: The pixel range that a .keras file, or a .tflite file of floats, expects.
        protocol: "original": Inception's logits without their bias, over 1008 outputs, as published.
        data: The `ImageData` of "domain".
        data_name: What it is called.
        cache_dir: Where fetched and trained weights are kept; None: IGAN_CACHE_DIR, or igan_tf in the user's cache.
        report: Called with each line for the user.

    Returns:
        A `Classifier`.

    Raises:
        EvaluationError: with the argument and what was received.
    """
    check_arguments(name, path, trust_file, value_range, protocol)
    suffix = Path(name).suffix
    cache = cache_folder(cache_dir)
    if name == "inception":
        from igan_tf.evaluation.classifiers import inception

        return inception.load(path, sha256, protocol, cache, report, trust_file)
    if name == "keras_inception_v3":
        from igan_tf.evaluation.classifiers import keras_models

        return keras_models.load_inception_v3(path, sha256, report)
    if name == "domain":
        from igan_tf.evaluation.classifiers import domain

        if data is None:
            raise EvaluationError("`name=domain` needs `data`, the data set to train on. Received: data=None")
        return domain.load(data, data_name, cache, report, sha256)
    if suffix == ".tflite":
        from igan_tf.evaluation.classifiers import tflite

        with renamed(path="name"):
            return tflite.load(name, sha256, value_range)
    from igan_tf.evaluation.classifiers import keras_models

    with renamed(path="name"):
        return keras_models.load_file(name, sha256, trust_file, value_range)


def check_arguments(
    name: str, path: str | Path, trust_file: bool, value_range: tuple[float, float] | None, protocol: str
) -> None:
    """Raises an EvaluationError for arguments of `load_classifier` that do not go together; reads no file."""
    suffix = Path(name).suffix
    if name not in CLASSIFIERS and suffix not in (".tflite", ".keras"):
        raise EvaluationError(
            f"`name` must be one of {', '.join(CLASSIFIERS)}, or a .tflite or .keras file. Received: name={name}"
        )
    if protocol not in PROTOCOLS:
        raise EvaluationError(f"`protocol` must be one of {', '.join(PROTOCOLS)}. Received: protocol={protocol}")
    if protocol == "original" and name != "inception":
        raise EvaluationError(f"`protocol=original` goes with `name=inception`. Received: name={name}")
    if path and name not in ("inception", "keras_inception_v3"):
        raise EvaluationError(f"`path` goes with `name=inception` or `name=keras_inception_v3`. Received: name={name}")
    if value_range is not None and suffix not in (".tflite", ".keras"):
        raise EvaluationError(
            "`value_range` is for a .keras file, or a .tflite file of floats. "
            f"Received: value_range={value_range[0]:g},{value_range[1]:g} name={name}"
        )
    if trust_file and name != "inception" and suffix != ".keras":
        raise EvaluationError(
            f"`trust_file` is for a .keras file, or `name=inception`. Received: trust_file={trust_file} name={name}"
        )
