"""Where the images of an evaluation come from: what the settings `source` and `reference` name."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from igan_tf.data import DATASETS, DataSettings, ImageData
from igan_tf.errors import EvaluationError, prefixed, renamed
from igan_tf.evaluation import array_sources, folder_images, images
from igan_tf.evaluation.classifiers.classifier import Classifier
from igan_tf.evaluation.record_source import RecordSource
from igan_tf.evaluation.settings import RUN_DATA, SOURCES, EvaluationSettings, parse_range
from igan_tf.evaluation.statistics import FeatureStatistics, is_statistics_file, load_statistics
from igan_tf.experiments.configs import FLAGS_FILE, RunConfig
from igan_tf.experiments.recipes import recipe_of
from igan_tf.experiments.run_directory import read_config
from igan_tf.experiments.runs import load_checkpoint, refuse_other_data
from igan_tf.images.array_files import IMAGE_KEYS, SUFFIXES, array_files, array_names
from igan_tf.images.settings import IMAGE_FILES
from igan_tf.pretrained import is_pretrained, run_folder
from igan_tf.settings import fields_of

# The paper's number of samples.
GENERATED_SAMPLES = 50000
NOISE_SAMPLES = 1000
# Turns bits of a seed, all of which stay below `GREATEST_SEED`.
_REFERENCE_SEED = 0x2F0E1EB9
_NOISE = r"(\d{1,9})x(\d{1,9})x([13])"
_LARGEST_NOISE = 4096
# `igan_tf.data.load_data`, which may remember what it loaded.
LoadData = Callable[[DataSettings], Any]


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
    if is_pretrained(spec):
        return run_folder(spec), None
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
    if found is None:
        return None
    with renamed(run_dir="source"):
        return Run(found[0], *load_checkpoint(*found))


def kind_of(argument: str, spec: str) -> str:
    """What the setting `argument`, "source" or "reference", names.

    Returns:
        "run", "tfds", "dataset", "noise", "arrays" (an .npy or .npz, or a folder of them), "folder" or, of a reference
        alone, "run data" and "statistics".

    Raises:
        EvaluationError: for anything else.
    """
    kind, _, rest = spec.partition(":")
    if argument == "reference" and spec == RUN_DATA:
        return "run data"
    # An empty path would be the current folder.
    if spec and find_run(spec):
        return "run"
    if kind == "tfds" and ":" in rest:
        return "tfds"
    if kind == "noise" and (sizes := re.fullmatch(_NOISE, rest)):
        if not 1 <= min(int(sizes[1]), int(sizes[2])) <= max(int(sizes[1]), int(sizes[2])) <= _LARGEST_NOISE:
            raise EvaluationError(
                f"`{argument}`: noise must be of 1 to {_LARGEST_NOISE} pixels a side. Received: {argument}={spec}"
            )
        return "noise"
    if rest in ("train", "test"):
        return "dataset"
    if argument == "reference" and is_statistics_file(spec):
        # ADM's files hold statistics beside images.
        return "arrays" if set(array_names(spec)).intersection(IMAGE_KEYS) else "statistics"
    if spec and Path(spec).is_dir():
        return "arrays" if array_files(spec) else "folder"
    if Path(spec).suffix.lower() in SUFFIXES and Path(spec).is_file():
        return "arrays"
    more = f"; {RUN_DATA}; a file of statistics" if argument == "reference" else ""
    raise EvaluationError(f"`{argument}` must be one of: {SOURCES}{more}. Received: {argument}={spec}")


def training_config(settings: EvaluationSettings) -> DataSettings | None:
    """The data set that the classifier is trained on, of `dataset` or of the run; None where nothing is trained.

    Raises:
        EvaluationError: for records, which are not in memory, and where there is no data set.
    """
    if settings.classifier != "domain" and not settings.generated_training_data:
        return None
    if settings.dataset:
        config = _by_name(settings.dataset, settings)
    elif find_run(settings.source):
        config = config_of_run(settings)
    else:
        raise EvaluationError(
            f"`classifier=domain` needs the data set to train on: `dataset`, or a run directory as `source`. "
            f"Received: source={settings.source} dataset="
        )
    trained_on = [config, config_of_run(settings)] if settings.generated_training_data else [config]
    if any(DATASETS[one.dataset].streamed for one in trained_on):
        raise EvaluationError(
            "`classifier=domain` and `generated_training_data` train on images in memory, not on ImageNet's records. "
            f"Received: classifier={settings.classifier} source={settings.source} dataset={settings.dataset}"
        )
    return config


def config_of_run(settings: EvaluationSettings) -> RunConfig:
    """The config of the run that is the `source`; `data_dir` says where its data lies now."""
    run = find_run(settings.source)
    if run is None:
        raise EvaluationError(
            f"{RUN_DATA} is the data of a run, which `source` must name. Received: source={settings.source}"
        )
    config = read_config(run[0])
    return dataclasses.replace(config, data_dir=settings.data_dir or config.data_dir)


def open_both(
    settings: EvaluationSettings, run: Run | None, load: LoadData
) -> tuple[images.ImageSource, images.ImageSource | FeatureStatistics | None, FeatureStatistics | None]:
    """What is to be scored, and what it is compared with.

    Args:
        settings: The settings.
        run: The run that is the `source`, where it is one.
        load: Loads a data set.

    Returns:
        (source, reference, statistics): of the reference, images, statistics, or None; and beside images the
        statistics of others that their file holds, or None. `prepare` follows once the classifier is known.

    Raises:
        EvaluationError, DataError: where there is no such thing.
    """
    source = _open("source", settings.source, settings, run, load)
    if not settings.reference:
        return source, None, None
    if kind_of("reference", settings.reference) == "statistics":
        return source, load_statistics(settings.reference), None
    reference = _open("reference", settings.reference, settings, None, load)
    return source, reference, load_statistics(settings.reference) if is_statistics_file(settings.reference) else None


def _open(
    argument: str, spec: str, settings: EvaluationSettings, run: Run | None, load: LoadData
) -> images.ImageSource:
    """The `ImageSource` that the setting `argument` names as `spec`; `run`: the run, if it is loaded already."""
    kind = kind_of(argument, spec)
    name, _, rest = spec.partition(":")
    # Not the source's: equal latents would make pairs.
    seed = (settings.seed or 0) ^ (_REFERENCE_SEED * (argument == "reference"))
    if kind == "run":
        found = run or open_run(spec)
        assert found is not None
        model, count = found.model, settings.num_samples or GENERATED_SAMPLES
        made_by = f"step {found.checkpoint['step']}, seed {seed}"
        return images.GeneratedSource(lambda: model.generate_batches(count, seed), count, spec, made_by)
    if kind == "noise":
        shape = [int(number) for number in re.findall(r"\d+", rest)]
        return images.NoiseSource(settings.num_samples or NOISE_SAMPLES, shape, seed)
    if kind == "arrays":
        return _open_arrays(argument, spec, settings)
    with prefixed(f"`{argument}={spec}`", spec):
        if kind == "run data":
            return recipe_of(config_of_run(settings)).real_images(data_of_run(settings, load))
        if kind == "tfds":
            name, split = rest.split(":", 1)
            return images.TfdsSource(name, split, settings.data_dir)
        if kind == "dataset":
            return _split_of(name, rest, settings, load)
    with renamed(root=argument):
        return folder_images.FolderSource(spec, settings=settings)


def _open_arrays(argument: str, spec: str, settings: EvaluationSettings) -> images.ImageSource:
    reader = array_sources.ArrayFolderSource if Path(spec).is_dir() else array_sources.ArrayFileSource
    key, image_range = settings.npz_key, parse_range("image_range", settings.image_range)
    likely_keys: tuple[str, ...] = ()
    names = {"key": "npz_key"}
    if argument == "reference":
        image_range = parse_range("reference_range", settings.reference_range) or image_range
        names["image_range"] = "reference_range"
        # Where the source has arrays too, they need not have the same names.
        if settings.reference_npz_key or not key or kind_of("source", settings.source) == "arrays":
            key, likely_keys, names["key"] = settings.reference_npz_key, (key,), "reference_npz_key"
    with prefixed(f"`{argument}={spec}`", spec), renamed(**names):
        return reader(spec, key, image_range, settings.channels_first, likely_keys)


def prepare(source: images.ImageSource, settings: EvaluationSettings, classifier: Classifier) -> None:
    """Has a source give images as the classifier takes them.

    Raises:
        EvaluationError: for `fit` with a classifier that takes images of any size.
    """
    name = "center_square" if settings.center_square else "fit"
    if classifier.input_size is None and getattr(settings, name) != getattr(EvaluationSettings, name):
        raise EvaluationError(
            f"`{name}` gives images the aspect ratio of what the classifier takes. "
            f"Received: {name}={getattr(settings, name)} classifier={settings.classifier}, which takes any size"
        )
    source.fitting = settings
    if isinstance(source, folder_images.FolderSource):
        source.channels = classifier.channels


def data_of_run(settings: EvaluationSettings, load: LoadData) -> Any:
    """The data of the run that is the `source`; a DataError where they are not those that it was trained on."""
    data = load(config_of_run(settings))
    with renamed(run_dir="source"):
        refuse_other_data(_folder_of_run(settings), data)
    return data


def _folder_of_run(settings: EvaluationSettings) -> Path:
    found = find_run(settings.source)
    assert found is not None
    return found[0]


def _by_name(dataset: str, settings: EvaluationSettings) -> DataSettings:
    """A data set; the files of a folder are read as those of `source`."""
    of_files = {field.name: getattr(settings, field.name) for field in fields_of(IMAGE_FILES)}
    return DataSettings(dataset=dataset, data_dir=settings.data_dir, **(of_files if dataset == "folder" else {}))


def _split_of(dataset: str, split: str, settings: EvaluationSettings, load: LoadData) -> images.ImageSource:
    """A split of one of the package's data sets."""
    config: DataSettings | None = config_of_run(settings) if find_run(settings.source) else None
    if not (config and config.dataset == dataset):
        config = _by_name(dataset, settings)
    # Of a run: its data as they were, which can be compared.
    comparable = isinstance(config, RunConfig) and not config.train_images
    # The run's size of images and test set, and all training images, also those that it did not use.
    data = load(dataclasses.replace(config, train_images=0))
    if comparable:
        with renamed(run_dir="source"):
            refuse_other_data(_folder_of_run(settings), data)
    if not isinstance(data, ImageData):
        if split == "train":
            return RecordSource(data)
        raise EvaluationError("the records are one set, imagenet:train")
    array = data.train_images if split == "train" else data.test_images
    if not len(array):
        raise EvaluationError("it holds no images")
    return images.ArraySource(array, dataset, split)
