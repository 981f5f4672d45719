"""A set of images through a classifier, and every score of it."""

from __future__ import annotations

import dataclasses
import sys
import time
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from tqdm import tqdm

from igan_tf.errors import EvaluationError, counted, renamed
from igan_tf.evaluation.classifiers.classifier import Classifier
from igan_tf.evaluation.images import ImageSource, chosen_indices, prefetched
from igan_tf.evaluation.protocol import full_float32, tensor_float_32, versions
from igan_tf.evaluation.statistics import FeatureStatistics, check_same_extractor
from igan_tf.metrics.checks import whole_number
from igan_tf.metrics.moments import FeatureMoments
from igan_tf.metrics.registry import ClassifiedSet, Metric, Needs, check_sizes, metrics, options_class

BATCH_SIZE = 64


@dataclasses.dataclass(frozen=True)
class Classified:
    """What a classifier said of a set of images.

    Attributes:
        indices: Sorted positions in the source of the N images; those that could not be read are not among them.
        values: `(N, K)` float32, logits or probabilities.
        from_logits: Whether they are logits.
        statistics: `FeatureStatistics` of the set.
        seconds: How long it took.
        warnings: Lines about what looks wrong in the images, which they name.
    """

    indices: np.ndarray
    values: np.ndarray
    from_logits: bool
    statistics: FeatureStatistics
    seconds: float
    warnings: list[str]


@full_float32()
def classify(
    source: ImageSource,
    classifier: Classifier,
    indices: np.ndarray | None = None,
    keep_features: bool = True,
    batch_size: int = BATCH_SIZE,
    progress: bool = False,
    dimensions: int | None = None,
) -> Classified:
    """Runs a set of images through a classifier.

    A thread of its own reads images a few batches ahead; no more are ever held. What stays in memory is K values an
    image (50,000 x 1008 float32: 200 MB), the features' running moments and, where they are kept, the features
    (50,000 x 2048: 400 MB).

    Args:
        source: An `ImageSource`.
        classifier: A `Classifier`.
        indices: Sorted positions of the images to take; None: all.
        keep_features: Whether single features are kept, which some metrics need.
        batch_size: Images in a batch.
        progress: Whether to show a bar with images/s, where stderr is a terminal.
        dimensions: How many features an image must have, to be comparable; None: any.

    Returns:
        A `Classified`.

    Raises:
        EvaluationError: for images that cannot be read or are not in their range, or another number of features.
    """
    fit = ""
    if classifier.input_size is not None:
        source.fit(classifier.input_size, resizes=not classifier.own_resize)
        fit = source.fitting.fit_in_words
    wanted = np.arange(source.count) if indices is None else np.asarray(indices)
    values: Any = None
    features: Any = None
    moments: Any = None
    count, done, lowest, highest = len(wanted), 0, np.inf, -np.inf
    started = time.perf_counter()
    bar = tqdm(total=count, unit="images", desc=source.name, disable=not (progress and sys.stderr.isatty()))
    with bar:
        for images in prefetched(source.batches(batch_size, wanted)):
            outputs = classifier(images, source.image_range, batch_size)
            if values is None or moments is None:
                values = np.empty((count, outputs.values.shape[1]), "float32")
                moments = FeatureMoments(outputs.features.shape[1])
                if dimensions not in (None, moments.dimensions):
                    raise EvaluationError(
                        f"`reference` must have statistics of the classifier's {moments.dimensions} features. "
                        f"Received: those of {dimensions} features"
                    )
                features = np.empty((count, moments.dimensions), "float32") if keep_features else None
            rows = slice(done, done + len(images))
            values[rows] = outputs.values
            moments.update(outputs.features)
            if features is not None:
                features[rows] = outputs.features
            done += len(images)
            lowest, highest = min(lowest, float(images.min())), max(highest, float(images.max()))
            bar.update(len(images))
    seconds = time.perf_counter() - started
    assert values is not None and moments is not None
    split = source.split if count == source.count else f"{source.split}, {count} drawn of {source.count}".lstrip(", ")
    kept = None if features is None else features[:done]
    statistics = FeatureStatistics(
        moments, kept, classifier.name, classifier.digest, classifier.protocol, source.name, split, fit
    )
    unreadable = np.isin(wanted, list(source.unreadable))
    lines = _range_warnings(source, lowest, highest)
    if unreadable.any():
        lines.append(f"{source.name}: {counted(int(unreadable.sum()), 'unreadable image')} left out")
    return Classified(wanted[~unreadable], values[:done], classifier.from_logits, statistics, seconds, lines)


def _range_warnings(source: ImageSource, lowest: float, highest: float) -> list[str]:
    """Warnings about the declared range, from a whole set's darkest and brightest pixel."""
    low, high = source.image_range or (0, 255)
    found = f"{source.name}: pixels lie between {lowest:g} and {highest:g}"
    if highest - lowest < 0.02 * (high - low):
        return [f"{found}, hardly any of the declared range from {low:g} to {high:g}: is the range right?"]
    return [f"{found}, but the declared range begins at {low:g}: is it from 0 on?"] if low < 0 <= lowest else []


@full_float32()
def evaluate_images(
    source: ImageSource,
    classifier: Classifier,
    reference: ImageSource | FeatureStatistics | None = None,
    reference_statistics: FeatureStatistics | None = None,
    *,
    num_samples: int = 0,
    seed: int | None = 0,
    batch_size: int = BATCH_SIZE,
    keep_features: bool = False,
    progress: bool = False,
    **options: Any,
) -> tuple[dict[str, Any], Classified, FeatureStatistics | None]:
    """Every score of a set of images, with its protocol.

    Args:
        source: An `ImageSource`.
        classifier: A `Classifier`.
        reference: Real images to compare with: an `ImageSource`, or `FeatureStatistics` of the same classifier, or of
            one that nobody recorded; None: only scores that need none.
        reference_statistics: What others stored beside the images of `reference`: the Fréchet distance comes from
            these statistics, what needs single features from the images.
        num_samples: How many images to take, drawn by `seed`; 0: all.
        seed: Of every permutation and draw; None keeps orders.
        batch_size: Images in a pass of the network.
        keep_features: Whether the source's features are wanted even without a reference.
        progress: Whether to show a bar.
        **options: The metrics' options, such as `splits`, `kernel_block_size` or `neighbour_samples`: the fields of
            `igan_tf.metrics.registry.options_class()`.

    Returns:
        (record, classified, reference statistics): the JSON-serialisable record of scores, what the classifier said
        of the source, and the reference's `FeatureStatistics` or None.

    Raises:
        EvaluationError: with what is wrong in arguments or images; before any image is classified, where that does not
            show in the images alone. The `image_range` of `reference` is called `reference_range`.
    """
    chosen = options_class()(**options)
    check_counts(source, reference, chosen, num_samples, keep_features)
    indices = chosen_indices(source.count, num_samples, seed)
    whole_number(batch_size, "batch_size", low=1)
    if reference_statistics is not None and not isinstance(reference, ImageSource):
        raise EvaluationError("`reference_statistics` stands beside the images of `reference`. Received: no images")
    others, statistics = reference_statistics, None
    lines: list[str] = []
    if isinstance(reference, FeatureStatistics):
        statistics = reference
        if statistics.classifier:
            check_same_extractor(statistics, classifier, "reference", source.fitting.fit_in_words)
        else:
            others = statistics
    dimensions = others.moments.dimensions if others else None
    keeps = keep_features or reference is not None
    # First: what a user has made is wrong more often than a reference.
    classified = classify(source, classifier, indices, keeps, batch_size, progress, dimensions)
    if isinstance(reference, ImageSource):
        with renamed(image_range="reference_range"):
            real = classify(reference, classifier, None, True, batch_size, progress, dimensions)
        statistics, lines = real.statistics, real.warnings
    # Features of the images, and the moments of others where there are some.
    compared = dataclasses.replace(statistics, moments=others.moments) if statistics and others else statistics
    scores, more_lines = score(classified, compared, chosen, seed)
    if statistics is not None:
        about = {"source": statistics.source, "split": statistics.split, "num_samples": statistics.count or None}
        scores["reference"] = about | (reference.record() if isinstance(reference, ImageSource) else {})
    if others:
        scores["reference"]["frechet_distance_from"] = others.split
        rest = "; what else is compared comes from its images" if others is not statistics else ""
        lines.append(
            f"{others.source}: the Fréchet distance is from {others.split}, beside which no extractor is named: it is "
            f"right only if they are of {classifier.name}, fed as here{rest}"
        )
    record = _about(source, classifier, classified)
    record["warnings"] = classified.warnings + lines + more_lines
    return {**scores, **record}, classified, statistics


def check_counts(
    source: ImageSource,
    reference: ImageSource | FeatureStatistics | None,
    options: Any,
    num_samples: int,
    keep_features: bool,
) -> None:
    """Raises an EvaluationError for numbers of images that would show as too small once everything was classified.

    Args:
        source, reference, num_samples, keep_features: As of `evaluate_images`.
        options: Has the fields of `options_class()`.
    """
    count = len(chosen_indices(source.count, num_samples, None))
    received = f"{counted(count, 'image')} of `source`"
    check_sizes([metric for metric in metrics() if metric.needs == Needs.VALUES], [count], options, received)
    # A file of others does not say how many images it is of.
    if reference is not None and reference.count:
        received += f" and {reference.count} of `reference`"
        most = Needs.FEATURES
        if isinstance(reference, FeatureStatistics) and reference.features is None:
            most = Needs.MOMENTS
        compare = [metric for metric in metrics() if Needs.VALUES < metric.needs <= most]
        check_sizes(compare, [count, reference.count], options, received)
    if (keep_features or reference is not None) and count < 2:
        raise EvaluationError("statistics need at least 2 images of `source`. Received: 1")


def score(
    classified: Classified,
    reference: FeatureStatistics | None,
    options: Any,
    seed: int | None,
    of: Iterable[Metric] | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """The scores of images that were classified.

    Args:
        classified: `Classified`.
        reference: `FeatureStatistics` of real images, or None.
        options: Has the fields of `options_class()`.
        seed: Of every permutation and draw; None keeps orders.
        of: The metrics to compute; None: all.

    Returns:
        (scores, warnings): what the metrics put into the record, and lines.
    """
    ours = classified.statistics
    generated = ClassifiedSet(ours.source, ours.moments, ours.features, classified.values, classified.from_logits)
    real: Any = None
    if reference is not None:
        real = ClassifiedSet(reference.source, reference.moments, reference.features)
    scores: dict[str, Any] = {}
    lines: list[str] = []
    missing: list[str] = []
    for metric in metrics() if of is None else of:
        if real is None and metric.needs > Needs.VALUES:
            continue
        if metric.needs == Needs.FEATURES and real is not None and real.features is None:
            missing += metric.names
            continue
        lines += metric.warnings(generated, real, options)
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always", RuntimeWarning)
            scores.update(metric.record(generated, real, options, seed))
        lines += [str(warning.message) for warning in raised]
    if missing:
        lines.append(f"{real.name}: without single features there is no {', '.join(missing)}")
    return scores, lines


def _about(source: ImageSource, classifier: Classifier, classified: Classified) -> dict[str, Any]:
    """The protocol of a record of scores."""
    count = len(classified.values)
    return {
        "num_samples": count,
        "source": source.name,
        "split": classified.statistics.split,
        **source.record(),
        "classifier": {
            **classifier.about,
            "outputs": classified.values.shape[1],
            "features": classified.statistics.moments.dimensions,
            **({} if classifier.test_error is None else {"test_error": classifier.test_error}),
        },
        "tensor_float_32": tensor_float_32(),
        "images_per_second": round(count / classified.seconds, 1),
        "versions": versions(),
    }
