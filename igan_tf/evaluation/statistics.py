"""Features and statistics on disk, which record what they can be compared with."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from igan_tf.errors import EvaluationError
from igan_tf.files import durable
from igan_tf.files.damage import UNREADABLE_ZIP
from igan_tf.metrics.checks import matrix
from igan_tf.metrics.moments import FeatureMoments

if TYPE_CHECKING:
    from igan_tf.evaluation.classifiers.classifier import Classifier

# Changes when the files' meaning does; an older or newer file is refused.
_FORMAT = "igan_tf statistics 1"


@dataclasses.dataclass(frozen=True)
class FeatureStatistics:
    """Features and their moments of one set of images, and how they were computed.

    Attributes:
        moments: Mean and covariance, a `FeatureMoments`.
        features: `(n, D)` float32; None where single features were not kept.
        classifier: Name of the extractor.
        classifier_digest: SHA-256 of its weights.
        protocol: How images reach it: resize, input size.
        source: Where the images came from.
        split: Which part of it.
    """

    moments: FeatureMoments
    features: np.ndarray | None
    classifier: str
    classifier_digest: str
    protocol: str
    source: str
    split: str

    def in_words(self) -> str:
        """What they are of, in one line."""
        return f"{self.source}: statistics of {self.count} images"

    @property
    def count(self) -> int:
        """Number of images."""
        return self.moments.count


def save_statistics(path: str | Path, statistics: FeatureStatistics) -> None:
    """Writes statistics to an `.npz`: whole, or not at all.

    Raises:
        EvaluationError: where the file cannot be written.
    """
    arrays: dict[str, Any] = {"mean": statistics.moments.mean, "covariance": statistics.moments.covariance}
    if statistics.features is not None:
        arrays["features"] = np.asarray(statistics.features, "float32")
    about = {name: getattr(statistics, name) for name in _described()}
    about.update(format=_FORMAT, count=statistics.count, arrays=sorted(arrays))
    try:
        with durable.durable_file(path) as file:
            np.savez(file, about=np.frombuffer(json.dumps(about).encode(), "uint8"), **arrays)
    except OSError as error:
        raise EvaluationError(f"the statistics {path} cannot be written: {error}") from error


def load_statistics(path: str | Path) -> FeatureStatistics:
    """Reads what `save_statistics` wrote.

    Every array carries a checksum, and one of them the names of all: neither a changed bit nor a lost array passes.

    Raises:
        EvaluationError: for a file that is missing, damaged, or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(arrays.pop("about").tobytes())
        if about["format"] != _FORMAT:
            raise ValueError(f"they are of another version: {about['format']!r}, not {_FORMAT!r}")
        # Early files do not list their arrays.
        if sorted(arrays) != about.get("arrays", sorted(arrays)):
            raise ValueError(f"it must hold the arrays {about['arrays']}, not {sorted(arrays)}")
        described = {name: about[name] for name in _described()}
        moments = FeatureMoments.from_arrays(arrays["mean"], arrays["covariance"], about["count"])
        features = arrays.get("features")
        if features is not None and matrix(features, "features").shape[1] != moments.dimensions:
            raise ValueError(f"features of shape {features.shape} beside a mean of {moments.dimensions} dimensions")
    except UNREADABLE_ZIP as error:
        raise EvaluationError(f"the statistics {path} cannot be read: {error}") from error
    return FeatureStatistics(moments, features, **described)


def is_statistics_file(path: str | Path) -> bool:
    """Whether a path names an `.npz` that `save_statistics` wrote, from the names of its arrays.

    False for a damaged one: the reader of its images names the damage.
    """
    if Path(path).suffix != ".npz":
        return False
    try:
        with zipfile.ZipFile(path) as file:
            return {"about.npy", "mean.npy", "covariance.npy"} <= set(file.namelist())
    except UNREADABLE_ZIP:
        return False


def check_same_extractor(statistics: FeatureStatistics, classifier: Classifier, name: str = "statistics") -> None:
    """Raises an EvaluationError unless statistics came from this very classifier, fed in the same way.

    Args:
        statistics: `FeatureStatistics`.
        classifier: The `Classifier` whose features they are compared with.
        name: What the caller's argument is called, for the message.
    """
    for what, theirs, ours in (
        ("classifier", statistics.classifier, classifier.name),
        ("classifier digest", statistics.classifier_digest, classifier.digest),
        ("protocol", statistics.protocol, classifier.protocol),
    ):
        if theirs != ours:
            raise EvaluationError(
                f"`{name}` must come from the classifier in use: its {what} is {theirs!r}, not {ours!r}"
            )


def _described() -> list[str]:
    return [field.name for field in dataclasses.fields(FeatureStatistics) if field.type is str or field.type == "str"]
