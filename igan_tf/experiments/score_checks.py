"""What settings of an evaluation do not go together, refused before anything is loaded."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from igan_tf.errors import EvaluationError
from igan_tf.evaluation import array_sources
from igan_tf.evaluation.images import ImageSource
from igan_tf.evaluation.settings import EvaluationSettings, parse_range
from igan_tf.experiments.score_sources import find_run, kind_of
from igan_tf.images.folders import image_files
from igan_tf.metrics.registry import Needs, metrics

# The folder of samples in `top_dir`: apart from their grid, so that this folder can be scored itself.
TOP_SAMPLES = "samples"


def refuse_combinations(settings: EvaluationSettings, given: Collection[str] | None) -> None:
    """Refuses combinations that cannot be, before anything is loaded."""
    _refuse_unused(settings, given)
    if settings.generated_training_data and not find_run(settings.source):
        raise EvaluationError(f"`generated_training_data` needs a run directory. Received: source={settings.source}")
    if settings.save_reference and not settings.reference:
        raise EvaluationError("`save_reference` needs `reference`. Received: reference=")
    _check_places(settings)


def _refuse_unused(settings: EvaluationSettings, given: Collection[str] | None) -> None:
    """Refuses settings that would have no effect; None: those that are not at their defaults."""
    of_reference = kind_of("reference", settings.reference) if settings.reference else ""
    kinds = {kind_of("source", settings.source), of_reference}
    trains = settings.classifier == "domain" or settings.generated_training_data
    reads_data = kinds & {"tfds", "dataset", "run data"} or (trains and (settings.dataset or "run" in kinds))
    named = {text.partition(":")[0] for text in (settings.source, settings.reference, settings.dataset)}
    files = "folder" in kinds | named
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    comparing = [name for metric in metrics() if metric.needs > Needs.VALUES for name in metric.option_names()]
    for name, used, purpose in (
        ("image_range", "arrays" in kinds, "the images of an .npy or .npz"),
        ("npz_key", "arrays" in kinds, "the images of an .npz"),
        ("channels_first", "arrays" in kinds, "the images of an .npy or .npz"),
        ("reference_npz_key", of_reference == "arrays", "the images of an .npz as `reference`"),
        ("background", files or settings.fit == "pad", "a folder of images and `fit=pad`"),
        ("max_unreadable", files, "a folder of images"),
        ("max_megapixels", files, "a folder of images"),
        ("dataset", settings.classifier == "domain", "`classifier=domain`"),
        ("data_dir", reads_data, "a data set"),
        *((name, settings.reference, "`reference`") for name in comparing if name in defaults),
        ("top_fraction", settings.top_dir, "`top_dir`"),
    ):
        if not used and (getattr(settings, name) != defaults[name] if given is None else name in given):
            raise EvaluationError(
                f"`{name}` is for {purpose}. Received: {name}={getattr(settings, name)} with "
                f"source={settings.source} reference={settings.reference} classifier={settings.classifier}"
            )


def _check_places(settings: EvaluationSettings) -> None:
    """Refuses places that cannot be written before anything is computed."""
    read = {name: getattr(settings, name) for name in ("classifier_path", "classifier", "reference", "source")}
    taken = {Path(value).resolve(): name for name, value in read.items() if value and Path(value).exists()}
    for name in ("output", "save_statistics", "save_reference"):
        value = getattr(settings, name)
        if not value:
            continue
        if not Path(value).absolute().parent.is_dir():
            raise EvaluationError(f"`{name}` must lie in a folder that exists. Received: {name}={value}")
        if Path(value).is_dir():
            raise EvaluationError(f"`{name}` must be a file. Received: {name}={value}, a folder")
        other = taken.setdefault(Path(value).resolve(), name)
        if other != name:
            raise EvaluationError(
                f"`{name}` must be another file than `{other}`, which it would replace. "
                f"Received: {name}={value} {other}={getattr(settings, other)}"
            )
        _check_writable(name, value, Path(value).absolute().parent)
    if settings.top_dir:
        for name in ("source", "reference"):
            folder = getattr(settings, name)
            inside = Path(settings.top_dir).resolve().is_relative_to(Path(folder).resolve())
            if folder and Path(folder).is_dir() and inside:
                raise EvaluationError(
                    f"`top_dir` must not lie in `{name}`, among whose images its samples would be. "
                    f"Received: top_dir={settings.top_dir} {name}={folder}"
                )
        if held := image_files(settings.top_dir):
            raise EvaluationError(
                "`top_dir` must hold no images, among which the samples would be lost. "
                f"Received: top_dir={settings.top_dir}, which holds {held[0]}"
            )
        # Missing folders are made.
        samples = Path(settings.top_dir, TOP_SAMPLES).absolute()
        there = next(path for path in (samples, *samples.parents) if path.exists())
        _check_writable("top_dir", settings.top_dir, there)


def _check_writable(name: str, value: str, folder: Path) -> None:
    """Makes and removes a file in `folder`: a file system may refuse what its permissions allow."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{Path(value).name}."):
            pass
    except OSError as error:
        raise EvaluationError(f"`{name}={value}` cannot be written: {error}") from error


def refuse_unused_layout(settings: EvaluationSettings, source: ImageSource, reference: Any) -> None:
    """Raises an EvaluationError for a range of bytes, or for channels that are not first."""
    found = (array_sources.ArrayFileSource, array_sources.ArrayFolderSource)
    if settings.reference_range and not (isinstance(reference, found) and reference.image_range):
        raise EvaluationError(
            "`reference_range` is for a `reference` of floats in an .npy or .npz. "
            f"Received: reference_range={settings.reference_range} reference={settings.reference}"
        )
    takers = (source,) if settings.reference_range else (source, reference)
    arrays = [entry for entry in takers if isinstance(entry, found)]
    pixels = parse_range("image_range", settings.image_range)
    if pixels not in (None, (0, 255)) and not any(array.image_range for array in arrays):
        raise EvaluationError(
            f"`image_range` is for images of floats; the bytes of {(arrays or takers)[0].name} go from 0 to 255. "
            f"Received: image_range={settings.image_range}"
        )
    arrays = [entry for entry in (source, reference) if isinstance(entry, found)]
    if settings.channels_first and not any(array.channels_first for array in arrays):
        raise EvaluationError(
            f"`channels_first` is for arrays (N, channels, height, width); those of {arrays[0].name} have their "
            "channels last. Received: channels_first=True"
        )
