"""Scores of the package's own training runs, all of whose checks come before the first step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from igan_tf.errors import EvaluationError, renamed
from igan_tf.evaluation.callback import PeriodicScores
from igan_tf.evaluation.classifiers import load_classifier
from igan_tf.evaluation.classifiers.classifier import Classifier
from igan_tf.evaluation.images import ImageSource, chosen_indices
from igan_tf.evaluation.protocol import check_protocol
from igan_tf.experiments.configs import RunConfig
from igan_tf.experiments.run_directory import has_begun
from igan_tf.metrics.checks import pixel_range

_REMEDY = (
    "set `score_classifier` back to what it was then, go on without scores by `score_epochs=0`, or name another "
    "`run_dir`"
)
_REMEDY_OF_DOMAIN = (
    ". A classifier `domain` is trained once and kept in IGAN_CACHE_DIR, by default igan_tf in the user's cache: bring "
    "it from the machine that began the run"
)
# What a run's settings are called where they are passed on.
_NAMES = {
    "name": "score_classifier",
    # In training a file is named by its path.
    "path": "score_classifier",
    "value_range": "score_classifier_range",
    "data": "dataset",
    "cache_dir": "IGAN_CACHE_DIR",
    "num_samples": "score_samples",
}


def check_real_images(config: RunConfig, real: ImageSource) -> None:
    """Raises an EvaluationError where a run's real images are too few for its scores.

    Args:
        config: The run's settings.
        real: `ImageSource` of them.
    """
    try:
        with renamed(**_NAMES):
            PeriodicScores.check_counts(config.score_samples, min(config.score_samples, real.count))
    except EvaluationError as error:
        raise EvaluationError(
            f"{error} in the {real.split} set of `dataset={config.dataset}`; `score_epochs=0` leaves scores out"
        ) from error


def load_scorer(config: RunConfig, data: Any, report: Callable[[str], Any]) -> Classifier:
    """The classifier of a run's scores.

    Raises:
        EvaluationError: where it is unavailable.
    """
    with renamed(**_NAMES):
        return load_classifier(
            config.score_classifier,
            value_range=pixel_range(config.score_classifier_range) if config.score_classifier_range else None,
            data=data,
            data_name=config.dataset,
            report=report,
        )


def periodic_scores(
    config: RunConfig,
    classifier: Classifier,
    real: ImageSource,
    generate_batches: Callable[[int, int], Iterable[np.ndarray]],
    run_dir: str | Path,
    seed: int,
) -> PeriodicScores:
    """The `PeriodicScores` of a training run.

    Args:
        config: The run's settings.
        classifier: What scores the samples.
        real: `ImageSource` of the images to compare with, of which at most `score_samples` are drawn.
        generate_batches: As of `PeriodicScores`.
        run_dir: The run directory. Scores that it has already must be of the same protocol.
        seed: Of latents, draw and permutations.

    Raises:
        EvaluationError: for too few real images, or scores of another protocol.
    """
    check_real_images(config, real)
    indices = chosen_indices(real.count, min(config.score_samples, real.count), seed)
    scores = PeriodicScores(classifier, generate_batches, config.score_samples, real, indices, seed=seed)
    # Of a run that ended before its first checkpoint no curve is continued.
    if has_begun(run_dir):
        check_protocol(run_dir, scores, _REMEDY + (_REMEDY_OF_DOMAIN if config.score_classifier == "domain" else ""))
    return scores
