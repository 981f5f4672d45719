"""Where the images of an evaluation come from: what the settings `source` and `reference` name."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from igan_tf.data import DATASETS, DataSettings, ImageData, load_data
from igan_tf.errors import EvaluationError, InputError, renamed
from igan_tf.evaluation import folder_images, images, npz_images
from igan_tf.evaluation.classifiers.classifier import Classifier
from igan_tf.evaluation.record_source import RecordSource
from igan_tf.evaluation.settings import SOURCES, EvaluationSettings, parse_range
from igan_tf.evaluation.statistics import FeatureStatistics, is_statistics_file, load_statistics
from igan_tf.experiments.run_directory import FLAGS_FILE, read_config
from igan_tf.experiments.runs import load_checkpoint
from igan_tf.images.folders import npz_files

# The paper's number of samples.
GENERATED_SAMPLES = 50000
NOISE_SAMPLES = 1000
_NOISE = r"(\d+)x(\d+)x([13])"


@dataclasses.dataclass(frozen=True)
class Run:
    """A run that generates images.

    Attributes:
        folder: The run directory.
        model: Its model.
        checkpoint: Step and digest of the checkpoint that the model was loaded from.
    """

    folder: Path
    model: Any
    checkpoint: dict[str, Any]


def find_run(spec: str) -> tuple[Path, int | None] | None:
    """(run directory, step or None) if `spec` is a run directory or one of its checkpoints; otherwise None."""
    path = Path(spec)
    if (path / FLAGS_FILE).is_file():
        return path, None
    step = re.fullmatch(r"step-(\d+)", path.name)
    if step and (path.parent.parent / FLAGS_FILE).is_file():
        return path.parent.parent, int(step[1])
    return None


def open_run(spec: str) -> Run | None:
    """Loads the run that `spec` names; None if it names something else."""
    found = find_run(spec)
    return None if found is None else Run(found[0], *load_checkpoint(*found))


def kind_of(argument: str, spec: str) -> str:
    """What the setting `argument`, "source" or "reference", names.

    Returns:
        "run", "tfds", "dataset", "noise", "npz" (a file, or a folder of them), "folder" or, of a reference alone,
        "statistics".

    Raises:
        EvaluationError: for anything else.
    """
    kind, _, rest = spec.partition(":")
    # An empty path would be the current folder.
    if spec and find_run(spec):
        return "run"
    if kind == "tfds" and ":" in rest:
        return "tfds"
    if kind == "noise" and re.fullmatch(_NOISE, rest):
        return "noise"
    if rest in ("train", "test"):
        return "dataset"
    if argument == "reference" and is_statistics_file(spec):
        return "statistics"
    if spec and Path(spec).is_dir():
        return "npz" if npz_files(spec) else "folder"
    if Path(spec).suffix == ".npz" and Path(spec).is_file():
        return "npz"
    raise EvaluationError(f"`{argument}` must be one of: {SOURCES}. Received: {argument}={spec}")


def training_data(settings: EvaluationSettings) -> tuple[Any, str]:
    """The data set of `dataset` or of the run, where anything is trained on it, and its name.

    Raises:
        EvaluationError: for records, which are not in memory, and where there is no data set.
    """
    if settings.classifier != "domain" and not settings.generated_training_data:
        return None, ""
    run = find_run(settings.source)
    if settings.dataset:
        config = DataSettings(dataset=settings.dataset, data_dir=settings.data_dir)
    elif run:
        config = read_config(run[0])
        config = dataclasses.replace(config, data_dir=settings.data_dir or config.data_dir)
    else:
        raise EvaluationError(
            f"`classifier=domain` needs the data set to train on: `dataset`, or a run directory as `source`. "
            f"Received: source={settings.source} dataset="
        )
    if DATASETS[config.dataset].streamed:
        raise EvaluationError(
            "`classifier=domain` and `generated_training_data` train on images in memory, not on ImageNet's records. "
            f"Received: classifier={settings.classifier} source={settings.source} dataset={settings.dataset}"
        )
    return load_data(config), config.dataset


def open_both(
    settings: EvaluationSettings, classifier: Classifier, run: Run | None
) -> tuple[images.ImageSource, images.ImageSource | FeatureStatistics | None]:
    """What is to be scored and what it is compared with, or None.

    Raises:
        EvaluationError, DataError: where there is no such thing, no size that centre squares could have, or a range
            for images that have their own.
    """
    source = _open("source", settings.source, settings, classifier, run)
    reference: images.ImageSource | FeatureStatistics | None = None
    if settings.reference and kind_of("reference", settings.reference) == "statistics":
        reference = load_statistics(settings.reference)
    elif settings.reference:
        reference = _open("reference", settings.reference, settings, classifier)
    npz = (npz_images.NpzSource, npz_images.NpzFolderSource)
    if settings.reference_range and not (isinstance(reference, npz) and reference.image_range):
        raise EvaluationError(
            "`reference_range` is for a `reference` of floats in an .npz. "
            f"Received: reference_range={settings.reference_range} reference={settings.reference}"
        )
    takers = (source,) if settings.reference_range else (source, reference)
    arrays = [entry for entry in takers if isinstance(entry, npz)]
    pixels = parse_range("image_range", settings.image_range)
    if pixels not in (None, (0, 255)) and not any(array.image_range for array in arrays):
        raise EvaluationError(
            f"`image_range` is for images of floats; the bytes of {(arrays or takers)[0].name} go from 0 to 255. "
            f"Received: image_range={settings.image_range}"
        )
    fit = "center_square" if settings.center_square else "fit"
    if classifier.input_size is None and getattr(settings, fit) != getattr(EvaluationSettings, fit):
        raise EvaluationError(
            f"`{fit}` gives images the aspect ratio of what the classifier takes. "
            f"Received: {fit}={getattr(settings, fit)} classifier={settings.classifier}, which takes images of any size"
        )
    source.fitting = settings
    if isinstance(reference, images.ImageSource):
        reference.fitting = settings
    return source, reference


def _open(
    argument: str, spec: str, settings: EvaluationSettings, classifier: Classifier, run: Run | None = None
) -> images.ImageSource:
    """The `ImageSource` that the setting `argument` names as `spec`; `run`: the run, if it is loaded already."""
    kind = kind_of(argument, spec)
    name, _, rest = spec.partition(":")
    seed = settings.seed or 0
    if kind == "run":
        found = run or open_run(spec)
        assert found is not None
        model, count = found.model, settings.num_samples or GENERATED_SAMPLES
        made_by = f"step {found.checkpoint['step']}, seed {seed}"
        return images.GeneratedSource(lambda: model.generate_batches(count, seed), count, spec, made_by)
    if kind == "noise":
        shape = [int(number) for number in re.findall(r"\d+", rest)]
        return images.NoiseSource(settings.num_samples or NOISE_SAMPLES, shape, seed)
    if kind in ("tfds", "dataset"):
        try:
            if kind == "tfds":
                name, split = rest.split(":", 1)
                return images.TfdsSource(name, split, settings.data_dir)
            name, split = spec.split(":")
            return _split_of(name, split, settings)
        except InputError as error:
            raise EvaluationError(f"`{argument}={spec}`: {error}") from error
    if kind == "npz":
        reader = npz_images.NpzFolderSource if Path(spec).is_dir() else npz_images.NpzSource
        own_range = argument == "reference" and parse_range("reference_range", settings.reference_range)
        with renamed(root=argument, path=argument, key="npz_key"):
            return reader(spec, settings.npz_key, own_range or parse_range("image_range", settings.image_range))
    with renamed(root=argument):
        return folder_images.FolderSource(spec, classifier.channels, settings)


def _split_of(dataset: str, split: str, settings: EvaluationSettings) -> images.ImageSource:
    """A split of one of the package's data sets."""
    run = find_run(settings.source)
    config: DataSettings | None = read_config(run[0]) if run else None
    if config and config.dataset == dataset:
        # The run's size of images and test set, and all training images, also those that it did not use.
        config = dataclasses.replace(config, data_dir=settings.data_dir or config.data_dir, train_images=0)
    else:
        config = DataSettings(dataset=dataset, data_dir=settings.data_dir)
    data = load_data(config)
    if not isinstance(data, ImageData):
        if split == "train":
            return RecordSource(data)
        raise EvaluationError("the records are one set, imagenet:train")
    array = data.train_images if split == "train" else data.test_images
    if not len(array):
        raise EvaluationError("it holds no images")
    return images.ArraySource(array, dataset, split)
