"""Scores of images, from a run or from files, with everything that belongs to them: what `igan_tf.evaluate` does."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from igan_tf.data import load_data
from igan_tf.devices import unused_gpus
from igan_tf.errors import EvaluationError, counted, renamed
from igan_tf.evaluation.classifiers import load_classifier
from igan_tf.evaluation.classifiers.classifier import Classifier, resize
from igan_tf.evaluation.generated_training_data import check_comparable, compare_training_data
from igan_tf.evaluation.images import ImageSource
from igan_tf.evaluation.protocol import full_float32
from igan_tf.evaluation.ranking import rank, take
from igan_tf.evaluation.scores import Classified, check_counts, evaluate_images
from igan_tf.evaluation.settings import CLASSIFIER_SETTINGS, EvaluationSettings, parse_range
from igan_tf.evaluation.statistics import FeatureStatistics, save_statistics
from igan_tf.experiments.score_checks import TOP_SAMPLES, refuse_combinations, refuse_unused_layout
from igan_tf.experiments.score_sources import Run, data_of_run, open_both, open_run, prepare, training_config
from igan_tf.files import disk, durable
from igan_tf.images.grids import image_grid, write_png

# Of a record, what is not a score.
_PROTOCOL = (
    *("warnings", "versions", "images", "unreadable", "reference", "num_samples", "source", "split", "image_range"),
    *("fit", "classifier", "images_per_second", "tensor_float_32", "checkpoint"),
)
# Above it, a domain classifier knows too little of the images for scores to mean anything.
_POOR_CLASSIFIER = 0.3
# Samples in the grid: more would be too small to be looked at, and all of these stay in memory.
GRID_SAMPLES = 100


@dataclasses.dataclass(frozen=True)
class _Inputs:
    """What is scored and what for, before there is a classifier.

    Attributes:
        run: The run whose samples are scored, or None.
        source: The images.
        reference: What they are compared with, or None.
        statistics_of_others: What others stored beside the reference's images, or None.
        data: What the classifier is trained on; None where nothing is trained.
        data_name: What that data set is called.
        trained_on: The run's own data, where classifiers are to be trained on its samples.
    """

    run: Run | None
    source: ImageSource
    reference: ImageSource | FeatureStatistics | None
    statistics_of_others: FeatureStatistics | None
    data: Any
    data_name: str
    trained_on: Any


@full_float32()
def evaluate(
    settings: EvaluationSettings, report: Callable[[str], Any] = print, given: Collection[str] | None = None
) -> dict[str, Any]:
    """Scores the images that the settings name.

    Args:
        settings: The settings.
        report: Called with each line for the user.
        given: The settings that must have an effect; None: those that are not at their defaults.

    Returns:
        The record of scores, as it is written to `output`.

    Raises:
        InputError: with the setting or file that cannot be used.
    """
    refuse_combinations(settings, given)
    if warning := unused_gpus():
        report(warning)
    # Before a classifier is loaded or trained.
    inputs = _open(settings, report)
    classifier = _load_classifier(settings, inputs, report)
    record, classified, statistics = _score(settings, inputs, classifier, report)
    # Shown first: should writing fail, a long run's figures are at least on the screen.
    report(f"{figures(record)}\n{_measured(record)}")
    _write(settings.output, record)
    for path, found in ((settings.save_statistics, classified.statistics), (settings.save_reference, statistics)):
        if path and found:
            save_statistics(path, found)
    if more := _more(settings, inputs, classifier, classified, report):
        report(figures(more))
        record.update(more)
        _write(settings.output, record)
    return record


def _open(settings: EvaluationSettings, report: Callable[[str], Any]) -> _Inputs:
    """Opens everything that is read, and refuses what does not go together."""
    config = training_config(settings)
    run = open_run(settings.source)
    # One data set may serve the classifier and the reference.
    load = functools.cache(load_data)
    source, reference, statistics_of_others = open_both(settings, run, load)
    refuse_unused_layout(settings, source, reference)
    report(f"source {source.in_words()}")
    if reference:
        report(f"reference {reference.in_words()}")
    if settings.save_reference and isinstance(reference, FeatureStatistics) and not reference.classifier:
        raise EvaluationError(
            "`save_reference` must be of a known classifier, which a file with mu and sigma does not name. "
            f"Received: save_reference={settings.save_reference} reference={settings.reference}"
        )
    check_counts(source, reference, settings, settings.num_samples, bool(settings.save_statistics))
    data = load(config) if config else None
    trained_on = None
    if run and settings.generated_training_data:
        # Of another data set with as many classes the discriminator's classes would be others.
        trained_on = data_of_run(settings, load)
        try:
            with renamed(model="source", run_dir="source", data="source"):
                check_comparable(run.model, trained_on)
        except EvaluationError as error:
            raise EvaluationError(f"`generated_training_data`: {error}") from error
    return _Inputs(run, source, reference, statistics_of_others, data, config.dataset if config else "", trained_on)


def _load_classifier(settings: EvaluationSettings, inputs: _Inputs, report: Callable[[str], Any]) -> Classifier:
    """Loads or trains the classifier, and has the images read as it takes them."""
    with renamed(**CLASSIFIER_SETTINGS):
        classifier = load_classifier(
            settings.classifier,
            path=settings.classifier_path,
            sha256=settings.classifier_sha256,
            trust_file=settings.trust_classifier_file,
            value_range=parse_range("classifier_range", settings.classifier_range),
            protocol=settings.protocol,
            data=inputs.data,
            data_name=inputs.data_name,
            cache_dir=settings.cache_dir or None,
            report=report,
        )
    for entry in (inputs.source, inputs.reference):
        if isinstance(entry, ImageSource):
            prepare(entry, settings, classifier)
    return classifier


def _score(
    settings: EvaluationSettings, inputs: _Inputs, classifier: Classifier, report: Callable[[str], Any]
) -> tuple[dict[str, Any], Classified, FeatureStatistics | None]:
    """Classifies and scores the images; the record says what is to be known of them."""
    record, classified, statistics = evaluate_images(
        inputs.source,
        classifier,
        inputs.reference,
        inputs.statistics_of_others,
        num_samples=settings.num_samples,
        seed=settings.seed,
        batch_size=settings.batch_size,
        keep_features=bool(settings.save_statistics),
        progress=True,
        **settings.metric_options(),
    )
    for fault in [*inputs.source.unreadable.values(), *getattr(inputs.reference, "unreadable", {}).values()]:
        report(f"left out: {fault}")
    if (wrong := record["classifier"].get("test_error", 0)) > _POOR_CLASSIFIER:
        record["warnings"].append(
            f"the classifier is wrong about {wrong:.0%} of its test images: scores by what it sees say little"
        )
    if inputs.run:
        record["checkpoint"] = inputs.run.checkpoint
    return record, classified, statistics


def _more(
    settings: EvaluationSettings,
    inputs: _Inputs,
    classifier: Classifier,
    classified: Classified,
    report: Callable[[str], Any],
) -> dict[str, Any]:
    """What is asked for beside the scores, and takes as long again."""
    more: dict[str, Any] = {}
    if settings.top_dir:
        try:
            more["top_samples"] = _write_top(settings, inputs.source, classifier, classified)
        except OSError as error:
            raise EvaluationError(f"`top_dir={settings.top_dir}` cannot be written: {error}") from error
    if inputs.run and settings.generated_training_data:
        more["generated_training_data"] = compare_training_data(
            inputs.run.model, inputs.trained_on, inputs.source.count, settings.seed or 0, report
        )
    return more


def figures(record: Mapping[str, Any]) -> str:
    """The scores of a record, a line each."""
    lines = []
    for name, value in record.items():
        if name in _PROTOCOL:
            continue
        if isinstance(value, dict):
            shown = "  ".join(f"{key} {_short(entry)}" for key, entry in value.items() if entry is not None)
        else:
            shown = _short(value)
        lines.append(f"{name:24s} {shown}")
    return "\n".join(lines)


def _measured(record: Mapping[str, Any]) -> str:
    """What was scored by which classifier, and what to beware of."""
    by, split = record["classifier"], f", {record['split']}" if record["split"] else ""
    error = f", test error {_short(by['test_error'])}" if "test_error" in by else ""
    line = f"of {counted(record['num_samples'], 'image')}{split}, by {by['name']}, SHA-256 {by['sha256'][:16]}{error}"
    return "\n".join([line, *(f"warning: {warning}" for warning in record["warnings"])])


def _short(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _write_top(
    settings: EvaluationSettings, source: ImageSource, classifier: Classifier, classified: Classified
) -> dict[str, Any]:
    """Writes the samples of the highest scores and a grid of the first; returns its part of the record."""
    folder = Path(settings.top_dir, TOP_SAMPLES)
    disk.make_folder(folder, parents=True)
    positions, divergences = rank(classified.values, settings.top_fraction, classifier.from_logits)
    scored = classified.indices[positions]
    in_grid = {}
    for index, image in take(source, scored):
        write_png(folder / f"{index + 1:05d}-sample-{scored[index]:06d}-kl-{divergences[index]:.3f}.png", image)
        if index < GRID_SAMPLES:
            in_grid[index] = image
    # Images of a folder may have several sizes.
    size = in_grid[0].shape[:2]
    grid = [np.asarray(resize(in_grid[index][None], size))[0] for index in range(len(in_grid))]
    write_png(folder.parent / "grid.png", image_grid(np.stack(grid)))
    return {
        "folder": str(folder),
        "count": len(positions),
        "fraction": settings.top_fraction,
        "kl_highest": float(divergences[0]),
        "kl_lowest": float(divergences[-1]),
    }


def _write(output: str, record: dict[str, Any]) -> None:
    if not output:
        return
    try:
        durable.write_text(output, json.dumps(record, indent=2) + "\n")
    except OSError as error:
        raise EvaluationError(f"`output={output}` cannot be written: {error}") from error
