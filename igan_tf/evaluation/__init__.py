"""Scores of generated images, each with its protocol.

Scores take arrays and need no TensorFlow. What needs it is imported on first use: the classifiers, which turn images
into these arrays, the evaluation of whole sets of images, and the callback.
"""

import importlib

from igan_tf.errors import EvaluationError
from igan_tf.evaluation.statistics import FeatureStatistics, load_statistics, save_statistics
from igan_tf.metrics.frechet_distance import FeatureMoments, frechet_distance
from igan_tf.metrics.inception_score import inception_score, sample_divergences
from igan_tf.metrics.kernel_distance import kernel_distance
from igan_tf.metrics.precision_recall import density_coverage, precision_recall

_LAZY = {
    "ArraySource": "igan_tf.evaluation.images",
    "Classifier": "igan_tf.evaluation.classifiers",
    "PeriodicScores": "igan_tf.evaluation.callback",
    "ScoreCallback": "igan_tf.evaluation.callback",
    "as_classifier": "igan_tf.evaluation.classifiers",
    "evaluate_images": "igan_tf.evaluation.scores",
    "load_classifier": "igan_tf.evaluation.classifiers",
}

__all__ = [
    "ArraySource",
    "Classifier",
    "EvaluationError",
    "FeatureMoments",
    "FeatureStatistics",
    "PeriodicScores",
    "ScoreCallback",
    "as_classifier",
    "density_coverage",
    "evaluate_images",
    "frechet_distance",
    "inception_score",
    "kernel_distance",
    "load_classifier",
    "load_statistics",
    "precision_recall",
    "sample_divergences",
    "save_statistics",
]


def __getattr__(name):
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
