"""Features and statistics on disk, which record what they can be compared with."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from igan_tf.errors import DataError, EvaluationError, counted, renamed
from igan_tf.files import StrPath, durable, json_files
from igan_tf.files.arrays import Array, read_arrays
from igan_tf.images.array_files import array_names
from igan_tf.metrics.checks import matrix
from igan_tf.metrics.frechet_distance import covariance_factor
from igan_tf.metrics.moments import FeatureMoments, one_thread

if TYPE_CHECKING:
    from igan_tf.evaluation.classifiers.classifier import Classifier

# Changes when the files' meaning does; an older or newer file is refused.
_FORMAT = "igan_tf statistics 1"
_FLOATS = ("float16", "float32", "float64")
# The arrays of a file of this package, and of one of others.
_OWN = {
    "about": Array(("uint8",), (None,)),
    "mean": Array(("float64",), (None,)),
    "covariance": Array(("float64",), (None, None)),
}
_FEATURES = {"features": Array(("float32",), (None, None))}
_OF_OTHERS = {"mu": Array(_FLOATS, (None,)), "sigma": Array(_FLOATS, (None, None))}


_OF_ANY_VERSION = json_files.record({"format": json_files.TEXT}, others=True)


@dataclasses.dataclass(frozen=True)
class FeatureStatistics:
    """Features and their moments of one set of images, and how they were computed.

    Attributes:
        moments: Mean and covariance, a `FeatureMoments`.
        features: `(n, D)` float32; None where single features were not kept.
        classifier: Name of the extractor; empty where the file of others names none.
        classifier_digest: SHA-256 of its weights.
        protocol: How images reach it: resize, input size.
        source: Where the images came from.
        split: Which part of it.
        fit: How images got the aspect ratio of the classifier's; empty where that is not known.
    """

    moments: FeatureMoments
    features: np.ndarray | None
    classifier: str
    classifier_digest: str
    protocol: str
    source: str
    split: str
    fit: str = ""

    def in_words(self) -> str:
        """What they are of, in one line."""
        images = counted(self.count, "image") if self.count else "an unknown number of images"
        return f"{self.source}: statistics of {images}"

    @property
    def count(self) -> int:
        """Number of images; 0 where it is unknown."""
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
    """Reads what `save_statistics` wrote, or an .npz of others with the mean `mu` and the covariance `sigma`.

    Every array carries a checksum, and one of them the names of all: neither a changed bit nor a lost array passes.
    Files of others (pytorch-fid, clean-fid, ADM) say neither the number of images nor the extractor.

    Raises:
        EvaluationError: for a file that is missing, damaged, or something else; for a `sigma` that is no covariance.
    """
    try:
        names = set(array_names(path))
        if "about" not in names and names >= set(_OF_OTHERS):
            found = read_arrays(path, _OF_OTHERS, others=True)
            with renamed(mean="mu", covariance="sigma"):
                moments = FeatureMoments.from_arrays(found["mu"], _unrounded(found["sigma"]), None)
            with one_thread():
                covariance_factor(moments.covariance)
            return FeatureStatistics(moments, None, "", "", "", str(path), "mu and sigma")
        arrays = read_arrays(path, _OWN, _FEATURES)
        about = json_files.parse(arrays.pop("about").tobytes(), _OF_ANY_VERSION, path)
        if about["format"] != _FORMAT:
            raise ValueError(f"they are of another version: {about['format']!r}, not {_FORMAT!r}")
        json_files.check(about, _about_schema(), path)
        # Early files do not list their arrays.
        if sorted(arrays) != about.get("arrays", sorted(arrays)):
            raise ValueError(f"it must hold the arrays {about['arrays']}, not {sorted(arrays)}")
        # Early files do not say how images were fitted.
        described = {name: {"fit": "", **about}[name] for name in _described()}
        moments = FeatureMoments.from_arrays(arrays["mean"], arrays["covariance"], about["count"])
        features = arrays.get("features")
        if features is not None and matrix(features, "features").shape[1] != moments.dimensions:
            raise ValueError(
                f"features of shape {features.shape} beside a mean of {counted(moments.dimensions, 'dimension')}"
            )
    except (OSError, ValueError) as error:
        reason = str(error).removeprefix(f"{path} is damaged: ")
        raise EvaluationError(f"the statistics {path} cannot be read: {reason}") from error
    return FeatureStatistics(moments, features, **described)


def _unrounded(covariance: np.ndarray) -> np.ndarray:
    """The covariance next to one that was rounded to fewer than 64 bits; one that is wrong by more, as it is.

    Rounding leaves the halves apart and small eigenvalues below 0, by its unit times the square root of D.
    """
    rounding = np.finfo(covariance.dtype).eps * np.abs(covariance).max(initial=0) * len(covariance) ** 0.5
    if covariance.dtype == "float64" or covariance.ndim != 2 or not np.isfinite(rounding):
        return covariance
    wide = covariance.astype("float64")
    if wide.shape[0] != wide.shape[1] or np.abs(wide - wide.T).max() > rounding:
        return covariance
    with one_thread():
        values, vectors = np.linalg.eigh((wide + wide.T) / 2)
    root = vectors * np.sqrt(np.maximum(values, 0))
    return covariance if values[0] < -rounding else root @ root.T


def is_statistics_file(path: StrPath) -> bool:
    """Whether a path names an `.npz` that `load_statistics` reads, from the names of its arrays.

    False for a damaged one: the reader of its images names the damage.
    """
    if not Path(path).is_file():
        return False
    try:
        names = set(array_names(path))
    except DataError:
        return False
    return any(set(keys) <= names for keys in (_OWN, _OF_OTHERS))


def check_same_extractor(
    statistics: FeatureStatistics, classifier: Classifier, name: str = "statistics", fit: str = ""
) -> None:
    """Raises an EvaluationError unless statistics came from this very classifier, fed in the same way.

    Args:
        statistics: `FeatureStatistics`.
        classifier: The `Classifier` whose features they are compared with.
        name: What the caller's argument is called, for the message.
        fit: How images get their aspect ratio now; empty: not compared.
    """
    for what, theirs, ours in (
        ("classifier", statistics.classifier, classifier.name),
        ("classifier digest", statistics.classifier_digest, classifier.digest),
        ("protocol", statistics.protocol, classifier.protocol),
        ("fit", statistics.fit or fit, fit or statistics.fit),
    ):
        if theirs != ours:
            raise EvaluationError(
                f"`{name}` must come from the classifier in use: its {what} is {theirs!r}, not {ours!r}"
            )


def _about_schema() -> json_files.Schema:
    """What a file says of itself; early ones list no arrays, and do not say how images were fitted."""
    required = {name: json_files.TEXT for name in _described() if name != "fit"}
    arrays = json_files.listing(json_files.TEXT)
    counted = {"format": json_files.TEXT, "count": json_files.WHOLE}
    return json_files.record({**required, **counted}, {"fit": json_files.TEXT, "arrays": arrays})


def _described() -> list[str]:
    return [field.name for field in dataclasses.fields(FeatureStatistics) if field.type is str or field.type == "str"]
