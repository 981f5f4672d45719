"""Scores of images, with their protocol: `python -m igan_tf.evaluate --source=... --classifier=... --output=FILE`."""

import json
import os
import re
import sys
from pathlib import Path

# TensorFlow's start-up notices would bury this program's own lines. Python exceptions still show.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from igan_tf.evaluation.options import SOURCES, parser

# The paper's number of samples.
GENERATED_SAMPLES = 50000
NOISE_SAMPLES = 1000


def main(argv=None):
    """Evaluates; errors of the user's end it with one message."""
    arguments = parser(__doc__).parse_args(argv)
    from igan_tf.config import ConfigError
    from igan_tf.data import DataError
    from igan_tf.evaluation import EvaluationError
    from igan_tf.training import CheckpointError

    try:
        record = evaluate(arguments, _report)
    except (ConfigError, DataError, CheckpointError, EvaluationError) as error:
        sys.exit(f"igan_tf: {error}")
    _report(table(record))
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
    from igan_tf.evaluation import EvaluationError
    from igan_tf.evaluation.classifiers import load_classifier
    from igan_tf.evaluation.scores import evaluate_images
    from igan_tf.evaluation.statistics import is_statistics_file, load_statistics, save_statistics

    run = _find_run(arguments.source)
    _check(arguments, run)
    data, data_name = _data(arguments, run)
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
    model = _load_model(run) if run else None
    source = open_source(arguments.source, arguments, classifier, model)
    reference = None
    if is_statistics_file(arguments.reference):
        reference = load_statistics(arguments.reference)
    elif arguments.reference:
        reference = open_source(arguments.reference, arguments, classifier)
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
    # First of all: what follows may fail.
    _write(arguments.output, record)
    if arguments.save_statistics:
        save_statistics(arguments.save_statistics, classified.statistics)
    if arguments.save_reference:
        save_statistics(arguments.save_reference, statistics)
    if arguments.top_dir:
        try:
            record["top_samples"] = _write_top(arguments, source, classifier, classified)
        except OSError as error:
            raise EvaluationError(f"--top_dir={arguments.top_dir} cannot be written: {error}") from error
    if arguments.generated_training_data:
        record["generated_training_data"] = _generated_training_data(arguments, model, data, source.count, report)
    _write(arguments.output, record)
    return record


def _check(arguments, run):
    """Combinations that cannot be, before anything is loaded."""
    from igan_tf.evaluation import EvaluationError

    if arguments.generated_training_data and not run:
        raise EvaluationError(f"--generated_training_data needs a run directory. Received: --source={arguments.source}")
    if arguments.save_reference and not arguments.reference:
        raise EvaluationError("--save_reference needs --reference. Received: --reference=")
    if arguments.top_dir and Path(arguments.top_dir).exists() and not Path(arguments.top_dir).is_dir():
        raise EvaluationError(f"--top_dir={arguments.top_dir} cannot be written: it is no folder")
    for flag in ("output", "save_statistics", "save_reference"):
        value = getattr(arguments, flag)
        if value and not Path(value).absolute().parent.is_dir():
            raise EvaluationError(f"--{flag} must lie in a folder that exists. Received: --{flag}={value}")


# Where images come from.


def _find_run(spec):
    """(run directory, step or None) if `spec` is a run directory or one of its checkpoints; otherwise None."""
    from igan_tf.run_directory import FLAGS_FILE

    path = Path(spec)
    if (path / FLAGS_FILE).is_file():
        return path, None
    step = re.fullmatch(r"step-(\d+)", path.name)
    if step and (path.parent.parent / FLAGS_FILE).is_file():
        return path.parent.parent, int(step[1])
    return None


def _load_model(run):
    from igan_tf.experiment import load_run

    return load_run(*run)


def _data(arguments, run):
    """The data set of the run or of `--dataset`, where anything asks for it, and its name."""
    import dataclasses

    from igan_tf.config import Config
    from igan_tf.data import load_data
    from igan_tf.experiment import read_config

    if arguments.classifier != "domain" and not arguments.generated_training_data:
        return None, ""
    if arguments.dataset:
        config = Config(dataset=arguments.dataset, data_dir=arguments.data_dir)
    elif run:
        config = read_config(run[0])
        config = dataclasses.replace(config, data_dir=arguments.data_dir) if arguments.data_dir else config
    else:
        return None, ""
    return load_data(config), config.dataset


def open_source(spec, arguments, classifier, model=None):
    """The `ImageSource` that `--source` or `--reference` names.

    Args:
        spec: The flag's value: see SOURCES.
        arguments: Of `parser()`.
        classifier: The `Classifier` that the images are for.
        model: The run's model, where `spec` is a run.

    Raises:
        EvaluationError, DataError: where there is no such thing.
    """
    from igan_tf.data.image_sources import npz_files
    from igan_tf.evaluation import EvaluationError, images

    if model is None and (run := _find_run(spec)):
        model = _load_model(run)
    if model is not None:
        count, seed = arguments.num_samples or GENERATED_SAMPLES, arguments.seed or 0
        return images.GeneratedSource(lambda: model.generate_batches(count, seed), count, spec, f"seed {seed}")
    kind, _, rest = spec.partition(":")
    if kind == "tfds" and ":" in rest:
        return images.TfdsSource(*rest.split(":", 1), arguments.data_dir)
    if kind == "noise" and (size := re.fullmatch(r"(\d+)x(\d+)x([13])", rest)):
        shape = tuple(map(int, size.groups()))
        return images.NoiseSource(arguments.num_samples or NOISE_SAMPLES, shape, arguments.seed or 0)
    if rest in ("train", "test"):
        return _split_of(kind, rest, arguments)
    path = Path(spec)
    if path.suffix == ".npz" and path.is_file():
        return images.NpzSource(spec, arguments.npz_key, arguments.image_range)
    if path.is_dir() and npz_files(path):
        return images.NpzFolderSource(spec, arguments.npz_key, arguments.image_range)
    if path.is_dir():
        square = classifier.input_size if arguments.center_square else None
        return images.FolderSource(spec, classifier.channels, square)
    raise EvaluationError(f"--source and --reference must be one of: {SOURCES}. Received: {spec}")


def _split_of(dataset, split, arguments):
    import dataclasses

    from igan_tf.config import Config, ConfigError
    from igan_tf.data import load_data
    from igan_tf.evaluation import EvaluationError, images
    from igan_tf.experiment import read_config

    run = _find_run(arguments.source)
    config = read_config(run[0]) if run else None
    if config and config.dataset == dataset:
        # The run's own: its size of images, its test set. Of its training images all, whatever part it took.
        config = dataclasses.replace(config, data_dir=arguments.data_dir or config.data_dir, train_images=0)
    else:
        try:
            config = Config(dataset=dataset, data_dir=arguments.data_dir)
        except ConfigError as error:
            raise EvaluationError(f"--source or --reference, {dataset}:{split}: {error}") from error
    data = load_data(config)
    array = data.train_images if split == "train" else data.test_images
    if not len(array):
        raise EvaluationError(f"{dataset}:{split} holds no images")
    return images.ArraySource(array, dataset, split)


# What comes of it.


def _write_top(arguments, source, classifier, classified):
    """Writes the samples of the highest scores and a grid of them; returns what the record says of it."""
    from igan_tf.evaluation.images import chosen_indices
    from igan_tf.evaluation.ranking import rank, take
    from igan_tf.training.records import image_grid, write_png

    folder = Path(arguments.top_dir)
    folder.mkdir(parents=True, exist_ok=True)
    positions, divergences = rank(classified.values, arguments.top_fraction, classifier.from_logits)
    scored = chosen_indices(source.count, len(classified.values), arguments.seed)
    images = take(source, scored[positions])
    for place, (image, position, divergence) in enumerate(zip(images, scored[positions], divergences), start=1):
        write_png(folder / f"{place:05d}-sample-{position:06d}-kl-{divergence:.3f}.png", image)
    write_png(folder / "grid.png", image_grid(images))
    return {
        "folder": str(folder),
        "count": len(images),
        "fraction": arguments.top_fraction,
        "kl_highest": float(divergences[0]),
        "kl_lowest": float(divergences[-1]),
    }


def _generated_training_data(arguments, model, data, count, report):
    from igan_tf.evaluation.generated_training_data import compare_training_data

    return compare_training_data(model, data, count, arguments.seed or 0, report)


def _write(path, record):
    from igan_tf import durable
    from igan_tf.evaluation import EvaluationError

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
    return "\n".join(lines + [f"warning: {line}" for line in record["warnings"]])


def _short(value):
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _report(line):
    print(line, flush=True)


if __name__ == "__main__":
    main()
