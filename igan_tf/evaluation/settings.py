"""The settings of an evaluation: which images, by what classifier, against what, and where its figures go.

Nothing here imports TensorFlow: a command shows its help and refuses a wrong setting at once.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from igan_tf.errors import EvaluationError, renamed
from igan_tf.evaluation.classifiers import check_arguments
from igan_tf.evaluation.names import CLASSIFIERS, PROTOCOLS
from igan_tf.images.settings import ImageFileSettings
from igan_tf.metrics.checks import pixel_range
from igan_tf.metrics.registry import options_class
from igan_tf.settings import GREATEST_SEED, MANY, Settings, setting

SOURCES = (
    "a run directory or one of its checkpoints/step-<n>, which generates; a folder of images or of .npy and .npz "
    "files; an .npy or .npz; tfds:NAME:SPLIT; DATASET:train or DATASET:test of a data set of this package; "
    "noise:HEIGHTxWIDTHxCHANNELS"
)
# The reference that is the data of the run that is the source.
RUN_DATA = "run:data"
# Settings by the name that `load_classifier` has for them.
CLASSIFIER_SETTINGS = {
    "name": "classifier",
    "path": "classifier_path",
    "sha256": "classifier_sha256",
    "trust_file": "trust_classifier_file",
    "value_range": "classifier_range",
    "data": "dataset",
}


@dataclasses.dataclass(frozen=True)
class ImageSettings(ImageFileSettings):
    """Which images are scored, and which they are compared with."""

    topic = "Images"

    source: str = setting("", f"What to score: {SOURCES}.", path=True)
    reference: str = setting(
        "",
        f"Real images to compare with: as `source`; {RUN_DATA}, the data of the run that is the `source`, at its size "
        "and channels: the test images, or all where it holds none out; a file of `save_reference`; an .npz with mu "
        "and sigma, from which then comes the Frechet distance.",
        path=True,
    )
    num_samples: int = setting(0, "Images to take; 0: all, of a run 50000.", low=0, high=MANY)
    image_range: str = setting("", "The values black,white of an array of floats; empty: 0,1.")
    reference_range: str = setting("", "Those of `reference`; empty: `image_range`.")
    npz_key: str = setting("", "Array of the .npz; empty: the only one, or images, or arr_0.")
    reference_npz_key: str = setting("", "That of `reference`; empty: `npz_key` if it is there, else found like it.")
    channels_first: bool = setting(False, "Take arrays of (N, channels, height, width); others stay as they are.")
    center_square: bool = setting(False, "The same as `fit=crop`.")
    data_dir: str = setting("", "Folder of the TFDS data.", path=True)

    def check(self) -> None:
        super().check()
        if not self.source:
            raise EvaluationError(f"`source` must be one of: {SOURCES}. Received: source=")
        for name in ("image_range", "reference_range"):
            parse_range(name, getattr(self, name))
        if self.center_square and self.fit != "crop":
            raise EvaluationError(f"`center_square` is `fit=crop`. Received: center_square=True fit={self.fit}")


@dataclasses.dataclass(frozen=True)
class ClassifierSettings(Settings):
    """What scores the images."""

    topic = "Classifier"

    classifier: str = setting("inception", f"One of {', '.join(CLASSIFIERS)}, or a .tflite or .keras file.", path=True)
    classifier_path: str = setting(
        "",
        "Weights of inception (classify_image_graph_def.pb, the .tgz that holds it, or TF-GAN's SavedModel) or of "
        "keras_inception_v3; empty: fetched on first use.",
        path=True,
    )
    classifier_sha256: str = setting("", "The digest that the weights must have; empty: any.")
    classifier_range: str = setting("", "The pixel values black,white that a file of floats expects.")
    trust_classifier_file: bool = setting(
        False,
        "Open a .keras file, which decides which layers are made, or run a graph of inception whose operations are not "
        "all known to be arithmetic alone.",
    )
    protocol: str = setting(
        "default", "original: Inception's 1008 logits without their bias, as published.", choices=PROTOCOLS
    )
    cache_dir: str = setting("", "Where fetched and trained classifiers are kept; empty: the user's cache.", path=True)
    dataset: str = setting(
        "", "Data set that the classifier domain is trained on; empty: that of the run that is the `source`."
    )

    def check(self) -> None:
        super().check()
        value_range = parse_range("classifier_range", self.classifier_range)
        with renamed(**CLASSIFIER_SETTINGS):
            check_arguments(
                self.classifier, self.classifier_path, self.trust_classifier_file, value_range, self.protocol
            )


@dataclasses.dataclass(frozen=True)
class ComputationSettings(Settings):
    """How images are drawn and classified."""

    topic = "Scores"

    seed: int | None = setting(
        0,
        "Of latents, draws and permutations; none: keep the order.",
        low=0,
        high=GREATEST_SEED,
        optional=True,
    )
    batch_size: int = setting(64, "Images in a pass of the classifier.", low=1, high=1_000_000)


@dataclasses.dataclass(frozen=True)
class OutputSettings(Settings):
    """What is written, and what else is computed."""

    topic = "Output"

    output: str = setting("scores.json", "File that gets the figures and their protocol.", path=True)
    save_statistics: str = setting(
        "", "File that gets the features and statistics of `source`, for `reference`.", path=True
    )
    save_reference: str = setting("", "File that gets those of `reference`.", path=True)
    top_dir: str = setting(
        "", "Folder that gets samples/ of the highest scores and a grid of the first 100.", path=True
    )
    top_fraction: float = setting(0.01, "The part of the samples that `top_dir` gets.", above=0, high=1)
    generated_training_data: bool = setting(
        False, "Also train a classifier on a run's samples and test it on real images."
    )


# Dynamic: the registry finds the metrics, and with them their options.
MetricSettings: Any = options_class()


@dataclasses.dataclass(frozen=True)
class EvaluationSettings(ImageSettings, ClassifierSettings, MetricSettings, ComputationSettings, OutputSettings):
    """The settings of `igan_tf.experiments.scoring.evaluate`, the options of every metric among them.

    An empty `output` writes no file.

    ```python
    settings = EvaluationSettings(source="noise:32x32x3", classifier="keras_inception_v3", splits=5)
    ```
    """

    Error = EvaluationError

    def metric_options(self) -> dict[str, Any]:
        """The metrics' options by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(MetricSettings)}


def parse_range(name: str, text: str) -> tuple[float, float] | None:
    """The two numbers of a setting black,white; None for an empty one.

    Raises:
        EvaluationError: for anything else.
    """
    if not text:
        return None
    try:
        return pixel_range(text)
    except ValueError:
        raise EvaluationError(f"`{name}` must be black,white, such as -1,1. Received: {name}={text}") from None
