"""Scores of generated images, each with its protocol.

Everything is imported on first use. Scores take arrays and need no TensorFlow, as the classifiers do, which turn images
into these arrays, the evaluation of whole sets of images, and the callback.
"""

from igan_tf.lazy import lazy_names

_HOME = {
    "ArraySource": "igan_tf.evaluation.images",
    "Classifier": "igan_tf.evaluation.classifiers.classifier",
    "EvaluationError": "igan_tf.errors",
    "FeatureMoments": "igan_tf.metrics.moments",
    "FeatureStatistics": "igan_tf.evaluation.statistics",
    "PeriodicScores": "igan_tf.evaluation.callback",
    "ScoreCallback": "igan_tf.evaluation.callback",
    "as_classifier": "igan_tf.evaluation.classifiers.from_callable",
    "density_coverage": "igan_tf.metrics.precision_recall",
    "evaluate_images": "igan_tf.evaluation.scores",
    "frechet_distance": "igan_tf.metrics.frechet_distance",
    "inception_score": "igan_tf.metrics.inception_score",
    "kernel_distance": "igan_tf.metrics.kernel_distance",
    "load_classifier": "igan_tf.evaluation.classifiers",
    "load_statistics": "igan_tf.evaluation.statistics",
    "precision_recall": "igan_tf.metrics.precision_recall",
    "sample_divergences": "igan_tf.metrics.inception_score",
    "save_statistics": "igan_tf.evaluation.statistics",
    "two_sample_accuracy": "igan_tf.metrics.two_sample_accuracy",
}

__all__ = [*_HOME]

__getattr__, __dir__ = lazy_names(__name__, _HOME)
