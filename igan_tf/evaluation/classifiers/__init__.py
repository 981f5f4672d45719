"""Classifiers: images in, logits or probabilities and features out."""

from pathlib import Path

from igan_tf.errors import EvaluationError
from igan_tf.evaluation.classifiers.classifier import Classifier, Outputs
from igan_tf.evaluation.classifiers.files import cache_folder
from igan_tf.evaluation.classifiers.flag_names import EVALUATION
from igan_tf.evaluation.classifiers.from_callable import as_classifier
from igan_tf.evaluation.names import CLASSIFIERS, PROTOCOLS

__all__ = ["Classifier", "Outputs", "PROTOCOLS", "as_classifier", "load_classifier"]


def load_classifier(
    name,
    path="",
    sha256="",
    trust_file=False,
    value_range=None,
    protocol="default",
    data=None,
    data_name="",
    cache_dir=None,
    report=print,
    flags=EVALUATION,
):
    """The classifier that `--classifier` names.

    Args:
        name: "inception": TF-GAN's 2015 graph; "keras_inception_v3"; "domain": a small network trained on `data`; or
            a file's path, .tflite or .keras.
        path: The weights of the first two, where they are not to be fetched.
        sha256: The digest that the weights must have; empty: any.
        trust_file: Whether a .keras file may be opened: it decides which layers are made.
        value_range: The pixel range that a .keras file, or a .tflite file of floats, expects.
        protocol: "original": Inception's logits without their bias, over 1008 outputs, as published.
        data: The `ImageData` of "domain".
        data_name: What it is called.
        cache_dir: Where fetched and trained weights are kept; by default the user's cache.
        report: Called with each line for the user.
        flags: The command's `FlagNames`, for messages.

    Returns:
        A `Classifier`.

    Raises:
        EvaluationError: that names the flag and what was received.
    """
    _refuse_unused(name, path, trust_file, value_range, protocol, flags)
    suffix = Path(name).suffix
    cache = cache_folder(cache_dir)
    if name == "inception":
        from igan_tf.evaluation.classifiers import inception

        return inception.load(path, sha256, protocol, cache, report, flags)
    if name == "keras_inception_v3":
        from igan_tf.evaluation.classifiers import keras_models

        return keras_models.load_inception_v3(path, sha256, report, flags)
    if name == "domain":
        from igan_tf.evaluation.classifiers import domain

        if data is None:
            raise EvaluationError("--classifier=domain needs the data set to train on: --dataset, or a run directory")
        return domain.load(data, data_name, cache, report, sha256, flags)
    if suffix == ".tflite":
        from igan_tf.evaluation.classifiers import tflite

        return tflite.load(name, sha256, value_range, flags)
    if suffix == ".keras":
        from igan_tf.evaluation.classifiers import keras_models

        return keras_models.load_file(name, sha256, trust_file, value_range)
    raise EvaluationError(
        f"{flags.classifier} must be one of {', '.join(CLASSIFIERS)}, or a .tflite or .keras file. "
        f"Received: {flags.classifier}={name}"
    )


def _refuse_unused(name, path, trust_file, value_range, protocol, flags):
    """Refuses settings that are not of the classifier `name`."""
    suffix = Path(name).suffix
    if protocol not in PROTOCOLS:
        raise EvaluationError(f"--protocol must be one of {', '.join(PROTOCOLS)}. Received: --protocol={protocol}")
    if protocol == "original" and name != "inception":
        raise EvaluationError(f"--protocol=original is that of --classifier=inception. Received: --classifier={name}")
    if path and name not in ("inception", "keras_inception_v3"):
        raise EvaluationError(
            f"--classifier_path goes with --classifier=inception or keras_inception_v3. Received: --classifier={name}"
        )
    if value_range is not None and suffix not in (".tflite", ".keras"):
        raise EvaluationError(
            f"{flags.value_range} is for a .keras file, or a .tflite file of floats. Received: {flags.value_range}="
            f"{value_range[0]:g},{value_range[1]:g} with {flags.classifier}={name}"
        )
    if trust_file and suffix != ".keras":
        raise EvaluationError(
            "--trust_classifier_file is for a .keras file. "
            f"Received: --trust_classifier_file with {flags.classifier}={name}"
        )
