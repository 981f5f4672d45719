"""Scores of generated images, each with its protocol.

Scores take arrays and need no TensorFlow. What needs it is imported on first use: the classifiers, which turn images
into these arrays, the evaluation of whole sets of images, and the callback.
"""

import importlib

_LAZY = {
    "EvaluationError": "igan_tf.errors",
    "FeatureMoments": "igan_tf.metrics.frechet_distance",
    "FeatureStatistics": "igan_tf.evaluation.statistics",
    "density_coverage": "igan_tf.metrics.precision_recall",
    "frechet_distance": "igan_tf.metrics.frechet_distance",
    "inception_score": "igan_tf.metrics.inception_score",
    "kernel_distance": "igan_tf.metrics.kernel_distance",
    "load_statistics": "igan_tf.evaluation.statistics",
    "precision_recall": "igan_tf.metrics.precision_recall",
    "sample_divergences": "igan_tf.metrics.inception_score",
    "save_statistics": "igan_tf.evaluation.statistics",
    "ArraySource": "igan_tf.evaluation.images",
    "Classifier": "igan_tf.evaluation.classifiers",
    "PeriodicScores": "igan_tf.evaluation.callback",
    "ScoreCallback": "igan_tf.evaluation.callback",
    "as_classifier": "igan_tf.evaluation.classifiers",
    "evaluate_images": "igan_tf.evaluation.scores",
    "load_classifier": "igan_tf.evaluation.classifiers",
}

__all__ = [*_LAZY]


def __getattr__(name):
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
