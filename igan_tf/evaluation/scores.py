"""A set of images through a classifier, and every score of it."""

import importlib.metadata
import sys
import time
import warnings

import numpy as np
from tqdm import tqdm

from igan_tf.errors import EvaluationError
from igan_tf.evaluation.images import ImageSource, chosen_indices, prefetched
from igan_tf.evaluation.statistics import FeatureStatistics, check_same_extractor
from igan_tf.metrics.checks import order, whole_number
from igan_tf.metrics.frechet_distance import FeatureMoments, frechet_distance
from igan_tf.metrics.inception_score import inception_score
from igan_tf.metrics.kernel_distance import kernel_distance, number_of_blocks
from igan_tf.metrics.precision_recall import neighbour_scores

BATCH_SIZE = 64
KERNEL_BLOCK_SIZE = 1024
PRECISION_NEIGHBOURS = 3
DENSITY_NEIGHBOURS = 5
# What computes, and what decodes the images.
PACKAGES = ("igan_tf", "tensorflow", "keras", "numpy", "scipy", "pillow", "tensorflow-datasets")


class Classified:
    """What a classifier said of a set of images.

    Attributes:
        values: `(N, K)` float32, logits or probabilities.
        statistics: `FeatureStatistics` of the set.
        seconds: How long it took.
        warnings: Lines about what looks wrong in the images, which they name.
    """

    def __init__(self, values, statistics, seconds, warnings):
        self.values = values
        self.statistics = statistics
        self.seconds = seconds
        self.warnings = warnings


def classify(source, classifier, indices=None, keep_features=True, batch_size=BATCH_SIZE, progress=False):
    """Runs a set of images through a classifier.

    Images are drawn ahead by a thread of their own and never held but for a few batches; what stays is K values an
    image (50,000 x 1008 float32: 200 MB), the features' running moments and, where they are kept, the features
    (50,000 x 2048: 400 MB).

    Args:
        source: An `ImageSource`.
        classifier: A `Classifier`.
        indices: Sorted positions of the images to take; None: all.
        keep_features: Whether single features are kept, which KID and neighbours need.
        batch_size: Images in a batch.
        progress: Whether to show a bar with images/s, where stderr is a terminal.

    Returns:
        A `Classified`.

    Raises:
        EvaluationError: for images that cannot be read or are not in their range.
    """
    count = source.count if indices is None else len(indices)
    values = features = moments = None
    done, lowest, highest = 0, np.inf, -np.inf
    started = time.perf_counter()
    bar = tqdm(total=count, unit="images", desc=source.name, disable=not (progress and sys.stderr.isatty()))
    with bar:
        for images in prefetched(source.batches(batch_size, indices)):
            outputs = classifier(images, source.image_range, batch_size)
            if values is None:
                values = np.empty((count, outputs.values.shape[1]), "float32")
                moments = FeatureMoments(outputs.features.shape[1])
                features = np.empty((count, moments.dimensions), "float32") if keep_features else None
            rows = slice(done, done + len(images))
            values[rows] = outputs.values
            moments.update(outputs.features)
            if keep_features:
                features[rows] = outputs.features
            done += len(images)
            lowest, highest = min(lowest, float(images.min())), max(highest, float(images.max()))
            bar.update(len(images))
    seconds = time.perf_counter() - started
    split = source.split if count == source.count else f"{source.split}, {count} drawn of {source.count}".lstrip(", ")
    statistics = FeatureStatistics(
        moments, features, classifier.name, classifier.digest, classifier.protocol, source.name, split
    )
    return Classified(values, statistics, seconds, _range_warnings(source, lowest, highest))


def _range_warnings(source, lowest, highest):
    """What a whole set's darkest and brightest pixel say of its range."""
    low, high = source.image_range or (0, 255)
    found = f"{source.name}: pixels lie between {lowest:g} and {highest:g}"
    if highest - lowest < 0.02 * (high - low):
        return [f"{found}, hardly any of the declared range from {low:g} to {high:g}: is the range right?"]
    if low < 0 <= lowest:
        return [f"{found}, but the declared range begins at {low:g}: is it from 0 on?"]
    return []


def evaluate_images(
    source,
    classifier,
    reference=None,
    num_samples=0,
    splits=10,
    seed=0,
    kernel_block_size=KERNEL_BLOCK_SIZE,
    neighbour_samples=10000,
    batch_size=BATCH_SIZE,
    keep_features=False,
    progress=False,
):
    """Every score of a set of images, with its protocol.

    Args:
        source: An `ImageSource`.
        classifier: A `Classifier`.
        reference: Real images to compare with: an `ImageSource`, or `FeatureStatistics` of the same classifier;
            None: the Inception Score alone.
        num_samples: How many images to take, drawn by `seed`; 0: all.
        splits: Of the Inception Score.
        seed: Of every permutation and draw; None keeps orders.
        kernel_block_size: Of KID.
        neighbour_samples: How many images of each set, at most, precision, recall, density and coverage compare.
        batch_size: Images in a pass of the network.
        keep_features: Whether the source's features are wanted even without a reference.
        progress: Whether to show a bar.

    Returns:
        (record, classified, reference statistics): the JSON-serialisable record of scores, what the classifier said
        of the source, and the reference's `FeatureStatistics` or None.

    Raises:
        EvaluationError: with what is wrong in arguments or images; before any image is classified, where that does not
            show in the images alone.
    """
    indices = chosen_indices(source.count, num_samples, seed)
    whole_number(batch_size, "batch_size", low=1)
    if whole_number(splits, "splits", low=1) > len(indices):
        raise EvaluationError(
            f"--splits must be at most the number of images, {len(indices)}. Received: --splits={splits}"
        )
    keep_features = keep_features or reference is not None
    if keep_features and len(indices) < 2:
        raise EvaluationError("statistics need at least 2 images of --source. Received: 1")
    if reference is not None:
        _check_distances(len(indices), reference, kernel_block_size, neighbour_samples)
    statistics, lines = None, []
    if isinstance(reference, FeatureStatistics):
        statistics = reference
        check_same_extractor(statistics, classifier, "--reference")
    elif reference is not None:
        real = classify(reference, classifier, batch_size=batch_size, progress=progress)
        statistics, lines = real.statistics, real.warnings
    classified = classify(source, classifier, indices, keep_features, batch_size, progress)
    record = _about(source, classifier, classified)
    scores = score(classified, classifier, statistics, splits, seed, kernel_block_size, neighbour_samples)
    if isinstance(reference, ImageSource):
        scores["reference"]["image_range"] = list(reference.image_range or (0, 255))
    record["warnings"] = classified.warnings + lines + scores.pop("warnings")
    return {**scores, **record}, classified, statistics


def _check_distances(count, reference, kernel_block_size, neighbour_samples):
    """Refuses sizes that `score` would find too small once everything was classified."""
    whole_number(kernel_block_size, "kernel_block_size", low=2)
    whole_number(neighbour_samples, "neighbour_samples", low=DENSITY_NEIGHBOURS + 1)
    sizes = count, reference.count
    received = f"{count} images of --source and {reference.count} of --reference"
    if reference.count < 2:
        raise EvaluationError(f"the Fréchet distance needs at least 2 images of each. Received: {received}")
    if isinstance(reference, FeatureStatistics) and reference.features is None:
        # Neither KID nor precision will be computed.
        return
    blocks = number_of_blocks(sizes, kernel_block_size)
    if min(sizes) < 2 * blocks:
        raise EvaluationError(
            f"--kernel_block_size makes {blocks} blocks, which need 2 images each of either set. "
            f"Received: --kernel_block_size={kernel_block_size} for {received}"
        )
    if min(sizes) <= DENSITY_NEIGHBOURS:
        raise EvaluationError(
            f"density and coverage need at least {DENSITY_NEIGHBOURS + 1} images of each, {DENSITY_NEIGHBOURS} being "
            f"neighbours. Received: {received}"
        )


def score(
    classified,
    classifier,
    reference,
    splits,
    seed,
    kernel_block_size=KERNEL_BLOCK_SIZE,
    neighbour_samples=10000,
    neighbours=True,
):
    """The scores of images that were classified.

    Args:
        classified: `Classified`.
        classifier: Which said it.
        reference: `FeatureStatistics` of real images, or None.
        splits, seed, kernel_block_size, neighbour_samples: As of `evaluate_images`.
        neighbours: Whether to compute precision, recall, density and coverage, which cost the most.

    Returns:
        Dict of scores; its "warnings" are lines.
    """
    mean, deviation = inception_score(classified.values, splits, seed, classifier.from_logits)
    scores = {"inception_score": {"mean": mean, "std": deviation, "splits": splits, "seed": seed}, "warnings": []}
    if reference is None:
        return scores
    ours = classified.statistics
    for statistics in (ours, reference):
        if statistics.count <= statistics.moments.dimensions:
            scores["warnings"].append(
                f"{statistics.source}: {statistics.count} images are few for a covariance of "
                f"{statistics.moments.dimensions} features; the Fréchet distance is biased upwards"
            )
    with warnings.catch_warnings(record=True, action="always", category=RuntimeWarning) as raised:
        scores["frechet_distance"] = frechet_distance(ours.moments, reference.moments)
    scores["warnings"] += [str(warning.message) for warning in raised]
    scores["reference"] = {"source": reference.source, "split": reference.split, "num_samples": reference.count}
    if reference.features is None:
        scores["warnings"].append(f"{reference.source}: without single features there is no KID, no precision")
        return scores
    mean, error = kernel_distance(ours.features, reference.features, kernel_block_size, seed)
    scores["kernel_distance"] = {
        "mean": mean,
        # One block has no error; JSON has no NaN.
        "standard_error": None if np.isnan(error) else error,
        "block_size": kernel_block_size,
        "seed": seed,
    }
    if neighbours:
        scores.update(_neighbour_scores(reference.features, ours.features, seed, neighbour_samples))
    return scores


def _neighbour_scores(real, fake, seed, most):
    real, fake = (features[np.sort(order(len(features), seed)[:most])] for features in (real, fake))
    values = neighbour_scores(real, fake, PRECISION_NEIGHBOURS, DENSITY_NEIGHBOURS)
    neighbours = 2 * [PRECISION_NEIGHBOURS] + 2 * [DENSITY_NEIGHBOURS]
    return {
        name: {"value": value, "neighbours": number, "real": len(real), "generated": len(fake)}
        for name, value, number in zip(("precision", "recall", "density", "coverage"), values, neighbours)
    }


def _about(source, classifier, classified):
    """The protocol of a record of scores."""
    count = len(classified.values)
    return {
        "num_samples": count,
        "source": source.name,
        "split": classified.statistics.split,
        "image_range": list(source.image_range or (0, 255)),
        "classifier": {
            "name": classifier.name,
            "sha256": classifier.digest,
            "protocol": classifier.protocol,
            "outputs": classified.values.shape[1],
            "features": classified.statistics.moments.dimensions,
        },
        "images_per_second": round(count / classified.seconds, 1),
        "versions": versions(),
    }


def versions():
    """Python's and the packages' versions."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            # Used from its folder, without having been installed.
            found[package] = "not installed"
    return found
