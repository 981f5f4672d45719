"""Scores of images, with their protocol: `python -m igan_tf.evaluate --source=... --classifier=... --output=FILE`."""

import json
import os
import re
import sys
import tempfile
from pathlib import Path

# TensorFlow's start-up notices would bury this program's own lines. Python exceptions still show.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from igan_tf.commands.evaluate_options import SOURCES, parser, refuse_unused
from igan_tf.commands.flags import in_flags

# The paper's number of samples.
GENERATED_SAMPLES = 50000
NOISE_SAMPLES = 1000
# Where --top_dir has its samples: apart from their grid, so that this folder can be scored itself.
TOP_SAMPLES = "samples"
# Of them in the grid: more would be too small to be looked at, and all of these stay in memory.
GRID_SAMPLES = 100
_NOISE = r"(\d+)x(\d+)x([13])"


def main(argv=None):
    """Evaluates; errors of the user's end it with one message."""
    arguments = parser(__doc__).parse_args(argv)
    from igan_tf.errors import DataError, EvaluationError
    from igan_tf.experiments.config import ConfigError
    from igan_tf.training import CheckpointError

    try:
        evaluate(arguments, _report)
    except (ConfigError, DataError, CheckpointError, EvaluationError) as error:
        sys.exit(f"igan_tf: {in_flags(error, vars(arguments))}")
    _report(f"written to {arguments.output}")


def evaluate(arguments, report=print):
    """What the parsed `arguments` ask for.

    Args:
        arguments: Of `parser()`.
        report: Called with each line for the user.

    Returns:
        The record that `--output` has been given.

    Raises:
        ConfigError, DataError, CheckpointError, EvaluationError: of which each names the flag or file.
    """
    from igan_tf.errors import EvaluationError, renamed
    from igan_tf.evaluation.classifiers import load_classifier
    from igan_tf.evaluation.generated_training_data import check_comparable
    from igan_tf.evaluation.scores import evaluate_images
    from igan_tf.evaluation.statistics import save_statistics

    run = _find_run(arguments.source)
    _check(arguments, run)
    data, data_name = _data(arguments, run)
    model, checkpoint = _load_model(run) if run else (None, None)
    if arguments.generated_training_data:
        try:
            check_comparable(model, data)
        except EvaluationError as error:
            raise EvaluationError(f"`generated_training_data`: {error}") from error
    with renamed(
        name="classifier",
        path="classifier_path",
        sha256="classifier_sha256",
        trust_file="trust_classifier_file",
        value_range="classifier_range",
        data="dataset",
    ):
        classifier = load_classifier(
            arguments.classifier,
            path=arguments.classifier_path,
            sha256=arguments.classifier_sha256,
            trust_file=arguments.trust_classifier_file,
            value_range=arguments.classifier_range,
            protocol=arguments.protocol,
            data=data,
            data_name=data_name,
            cache_dir=arguments.cache_dir or None,
            report=report,
        )
    source, reference = _open_both(arguments, classifier, model, checkpoint)
    with renamed(square="center_square"):
        record, classified, statistics = evaluate_images(
            source,
            classifier,
            reference,
            num_samples=0 if run else arguments.num_samples,
            splits=arguments.splits,
            seed=arguments.seed,
            kernel_block_size=arguments.kernel_block_size,
            neighbour_samples=arguments.neighbour_samples,
            batch_size=arguments.batch_size,
            keep_features=bool(arguments.save_statistics),
            progress=True,
        )
    if run:
        record["checkpoint"] = checkpoint
    # First of all: what follows may fail, and a long run's figures are at least on the screen where writing does.
    report(table(record))
    _write(arguments.output, record)
    if arguments.save_statistics:
        save_statistics(arguments.save_statistics, classified.statistics)
    if arguments.save_reference:
        save_statistics(arguments.save_reference, statistics)
    more = {}
    if arguments.top_dir:
        try:
            more["top_samples"] = _write_top(arguments, source, classifier, classified)
        except OSError as error:
            raise EvaluationError(f"--top_dir={arguments.top_dir} cannot be written: {error}") from error
    if arguments.generated_training_data:
        more["generated_training_data"] = _generated_training_data(arguments, model, data, source.count, report)
    if more:
        report(table(more))
        record.update(more)
        _write(arguments.output, record)
    return record


def _check(arguments, run):
    """Combinations that cannot be, before anything is loaded."""
    from igan_tf.errors import EvaluationError

    kinds = {_kind("--source", arguments.source)}
    if arguments.reference:
        kinds.add(_kind("--reference", arguments.reference))
    refuse_unused(arguments, kinds)
    if arguments.generated_training_data and not run:
        raise EvaluationError(f"--generated_training_data needs a run directory. Received: --source={arguments.source}")
    if arguments.save_reference and not arguments.reference:
        raise EvaluationError("--save_reference needs --reference. Received: --reference=")
    _check_places(arguments)


def _check_places(arguments):
    """What is to be written, before anything is computed that could then not be kept."""
    from igan_tf.errors import EvaluationError
    from igan_tf.images.folders import image_files

    if not arguments.output:
        raise EvaluationError("--output must be a file. Received: --output=")
    taken = {Path(arguments.source).resolve(): "source"}
    if arguments.reference:
        taken[Path(arguments.reference).resolve()] = "reference"
    for flag in ("output", "save_statistics", "save_reference"):
        value = getattr(arguments, flag)
        if not value:
            continue
        if not Path(value).absolute().parent.is_dir():
            raise EvaluationError(f"--{flag} must lie in a folder that exists. Received: --{flag}={value}")
        if Path(value).is_dir():
            raise EvaluationError(f"--{flag} must be a file. Received: --{flag}={value}, a folder")
        other = taken.setdefault(Path(value).resolve(), flag)
        if other != flag:
            raise EvaluationError(
                f"--{flag} must be another file than --{other}, which it would replace. "
                f"Received: --{flag}={value} --{other}={getattr(arguments, other)}"
            )
        _check_writable(flag, value, Path(value).absolute().parent)
    if arguments.top_dir:
        if held := image_files(arguments.top_dir):
            raise EvaluationError(
                "--top_dir must hold no images, among which the samples would be lost. "
                f"Received: --top_dir={arguments.top_dir}, which holds {held[0]}"
            )
        # What is missing of it is made.
        samples = Path(arguments.top_dir, TOP_SAMPLES).absolute()
        there = next(path for path in (samples, *samples.parents) if path.exists())
        _check_writable("top_dir", arguments.top_dir, there)


def _check_writable(flag, value, folder):
    """Makes and removes a file in `folder`: permissions alone do not tell of a file system that takes none."""
    from igan_tf.errors import EvaluationError

    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{Path(value).name}."):
            pass
    except OSError as error:
        raise EvaluationError(f"--{flag}={value} cannot be written: {error}") from error


# Where images come from.


def _find_run(spec):
    """(run directory, step or None) if `spec` is a run directory or one of its checkpoints; otherwise None."""
    from igan_tf.experiments.run_directory import FLAGS_FILE

    path = Path(spec)
    if (path / FLAGS_FILE).is_file():
        return path, None
    step = re.fullmatch(r"step-(\d+)", path.name)
    if step and (path.parent.parent / FLAGS_FILE).is_file():
        return path.parent.parent, int(step[1])
    return None


def _kind(flag, spec):
    """What `--source` or `--reference` names: see SOURCES.

    Raises:
        EvaluationError: for nothing of the kind.
    """
    from igan_tf.errors import EvaluationError
    from igan_tf.evaluation.statistics import is_statistics_file
    from igan_tf.images.folders import npz_files

    kind, _, rest = spec.partition(":")
    # An empty path is the current folder, which nobody means.
    if not spec:
        raise EvaluationError(f"{flag} must be one of: {SOURCES}. Received: {flag}=")
    if _find_run(spec):
        return "run"
    if kind == "tfds" and ":" in rest:
        return "tfds"
    if kind == "noise" and re.fullmatch(_NOISE, rest):
        return "noise"
    if rest in ("train", "test"):
        return "dataset"
    if flag == "--reference" and is_statistics_file(spec):
        return "statistics"
    if Path(spec).is_dir():
        return "npz" if npz_files(spec) else "folder"
    if Path(spec).suffix == ".npz" and Path(spec).is_file():
        return "npz"
    raise EvaluationError(f"{flag} must be one of: {SOURCES}. Received: {flag}={spec}")


def _load_model(run):
    from igan_tf.experiments.experiment import load_checkpoint

    return load_checkpoint(*run)


def _data(arguments, run):
    """The data set of the run or of `--dataset`, where anything asks for it, and its name."""
    import dataclasses

    from igan_tf.data import load_data
    from igan_tf.errors import EvaluationError
    from igan_tf.experiments.config import Config
    from igan_tf.experiments.run_directory import read_config

    if arguments.classifier != "domain" and not arguments.generated_training_data:
        return None, ""
    if arguments.dataset:
        config = Config(dataset=arguments.dataset, data_dir=arguments.data_dir)
    elif run:
        config = read_config(run[0])
        config = dataclasses.replace(config, data_dir=arguments.data_dir) if arguments.data_dir else config
    else:
        return None, ""
    if config.recipe_name == "imagenet":
        raise EvaluationError(
            "--classifier=domain and --generated_training_data train on images in memory, not on ImageNet's records. "
            f"Received: --classifier={arguments.classifier} with --source={arguments.source} "
            f"--dataset={arguments.dataset}"
        )
    return load_data(config), config.dataset


def _open_both(arguments, classifier, model, checkpoint):
    """The `ImageSource` of `--source`, and that or the `FeatureStatistics` of `--reference`, or None."""
    from igan_tf.errors import EvaluationError
    from igan_tf.evaluation import images
    from igan_tf.evaluation.statistics import load_statistics

    source = open_source("--source", arguments.source, arguments, classifier, model, checkpoint)
    reference = None
    if arguments.reference and _kind("--reference", arguments.reference) == "statistics":
        reference = load_statistics(arguments.reference)
    elif arguments.reference:
        reference = open_source("--reference", arguments.reference, arguments, classifier)
    npz = (images.NpzSource, images.NpzFolderSource)
    if arguments.reference_range and not (isinstance(reference, npz) and reference.image_range):
        low, high = arguments.reference_range
        raise EvaluationError(
            "--reference_range is for a --reference of floats in an .npz. "
            f"Received: --reference_range={low:g},{high:g} --reference={arguments.reference}"
        )
    takers = (source,) if arguments.reference_range else (source, reference)
    arrays = [entry for entry in takers if isinstance(entry, npz)]
    if arguments.image_range not in (None, (0, 255)) and not any(array.image_range for array in arrays):
        low, high = arguments.image_range
        raise EvaluationError(
            f"--image_range is for images of floats; the bytes of {(arrays or takers)[0].name} go from 0 to 255. "
            f"Received: --image_range={low:g},{high:g}"
        )
    return source, reference


def open_source(flag, spec, arguments, classifier, model=None, checkpoint=None):
    """The `ImageSource` that `--source` or `--reference` names.

    Args:
        flag: Which of the two, for messages.
        spec: The flag's value: see SOURCES.
        arguments: Of `parser()`.
        classifier: The `Classifier` that the images are for.
        model, checkpoint: Of a run: its model and which checkpoint that is; None: to be loaded.

    Raises:
        EvaluationError, DataError: where there is no such thing, or no size that centre squares could have.
    """
    from igan_tf.errors import EvaluationError, renamed
    from igan_tf.evaluation import images

    kind, rest = _kind(flag, spec), spec.partition(":")[2]
    if kind == "run":
        if model is None:
            model, checkpoint = _load_model(_find_run(spec))
        count, seed = arguments.num_samples or GENERATED_SAMPLES, arguments.seed or 0
        made_by = f"step {checkpoint['step']}, seed {seed}"
        return images.GeneratedSource(lambda: model.generate_batches(count, seed), count, spec, made_by)
    if kind == "tfds":
        try:
            return images.TfdsSource(*rest.split(":", 1), arguments.data_dir)
        except EvaluationError as error:
            raise EvaluationError(f"{flag}={spec}: {error}") from error
    if kind == "noise":
        shape = tuple(map(int, re.fullmatch(_NOISE, rest).groups()))
        return images.NoiseSource(arguments.num_samples or NOISE_SAMPLES, shape, arguments.seed or 0)
    if kind == "dataset":
        return _split_of(flag, *spec.split(":"), arguments)
    if kind == "npz":
        reader = images.NpzFolderSource if Path(spec).is_dir() else images.NpzSource
        pixels = (flag == "--reference" and arguments.reference_range) or arguments.image_range
        with renamed(root=flag.lstrip("-"), path=flag.lstrip("-"), key="npz_key"):
            return reader(spec, arguments.npz_key, pixels)
    if arguments.center_square and classifier.input_size is None:
        raise EvaluationError(
            "--center_square resizes each square to the size that the classifier takes. "
            f"Received: --center_square with --classifier={arguments.classifier}, which takes images of any size"
        )
    square = classifier.input_size if arguments.center_square else None
    with renamed(root=flag.lstrip("-")):
        return images.FolderSource(spec, classifier.channels, square)


def _split_of(flag, dataset, split, arguments):
    import dataclasses

    from igan_tf.data import load_data
    from igan_tf.errors import EvaluationError
    from igan_tf.evaluation import images
    from igan_tf.evaluation.record_source import RecordSource
    from igan_tf.experiments.config import Config, ConfigError
    from igan_tf.experiments.run_directory import read_config

    run = _find_run(arguments.source)
    config = read_config(run[0]) if run else None
    if config and config.dataset == dataset:
        # The run's own: its size of images, its test set. Of its training images all, whatever part it took.
        config = dataclasses.replace(config, data_dir=arguments.data_dir or config.data_dir, train_images=0)
    else:
        try:
            config = Config(dataset=dataset, data_dir=arguments.data_dir)
        except ConfigError as error:
            raise EvaluationError(f"{flag}={dataset}:{split}: {error}") from error
    data = load_data(config)
    if config.recipe_name == "imagenet" and split == "train":
        return RecordSource(data)
    if config.recipe_name == "imagenet":
        raise EvaluationError(f"{flag}=imagenet:test: the records are one set, imagenet:train")
    array = data.train_images if split == "train" else data.test_images
    if not len(array):
        raise EvaluationError(f"{flag}={dataset}:{split} holds no images")
    return images.ArraySource(array, dataset, split)


# What comes of it.


def _write_top(arguments, source, classifier, classified):
    """Writes the samples of the highest scores and a grid of the first; returns what the record says of it."""
    import numpy as np

    from igan_tf.evaluation.images import chosen_indices
    from igan_tf.evaluation.ranking import rank, take
    from igan_tf.images.grids import image_grid, write_png

    folder = Path(arguments.top_dir, TOP_SAMPLES)
    folder.mkdir(parents=True, exist_ok=True)
    positions, divergences = rank(classified.values, arguments.top_fraction, classifier.from_logits)
    scored = chosen_indices(source.count, len(classified.values), arguments.seed)[positions]
    in_grid = {}
    for index, image in take(source, scored):
        write_png(folder / f"{index + 1:05d}-sample-{scored[index]:06d}-kl-{divergences[index]:.3f}.png", image)
        if index < GRID_SAMPLES:
            in_grid[index] = image
    write_png(folder.parent / "grid.png", image_grid(np.stack([in_grid[index] for index in range(len(in_grid))])))
    return {
        "folder": str(folder),
        "count": len(positions),
        "fraction": arguments.top_fraction,
        "kl_highest": float(divergences[0]),
        "kl_lowest": float(divergences[-1]),
    }


def _generated_training_data(arguments, model, data, count, report):
    from igan_tf.evaluation.generated_training_data import compare_training_data

    return compare_training_data(model, data, count, arguments.seed or 0, report)


def _write(path, record):
    from igan_tf.errors import EvaluationError
    from igan_tf.files import durable

    try:
        durable.write_text(path, json.dumps(record, indent=2) + "\n")
    except OSError as error:
        raise EvaluationError(f"--output={path} cannot be written: {error}") from error


def table(record):
    """The figures of a record, a line each."""
    lines = []
    for name, value in record.items():
        if name in ("warnings", "versions"):
            continue
        if isinstance(value, dict):
            shown = "  ".join(f"{key} {_short(entry)}" for key, entry in value.items())
        else:
            shown = _short(value)
        lines.append(f"{name:24s} {shown}")
    return "\n".join(lines + [f"warning: {line}" for line in record.get("warnings", ())])


def _short(value):
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _report(line):
    print(line, flush=True)
