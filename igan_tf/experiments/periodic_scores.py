"""The scores of the package's own training runs: what can be refused is refused before the first step."""

from igan_tf.errors import EvaluationError
from igan_tf.evaluation.callback import PeriodicScores
from igan_tf.evaluation.classifiers import load_classifier
from igan_tf.evaluation.classifiers.flag_names import TRAINING
from igan_tf.evaluation.images import chosen_indices
from igan_tf.evaluation.protocol import check_protocol
from igan_tf.metrics.checks import pixel_range

_REMEDY = (
    "give --score_classifier what it was then, go on without scores by --score_epochs=0, or name another --run_dir"
)


def check_real_images(config, real):
    """Raises an EvaluationError where a run's real images are too few for its scores.

    Args:
        config: The run's settings.
        real: `ImageSource` of them.
    """
    try:
        PeriodicScores.check_counts(config.score_samples, min(config.score_samples, real.count))
    except EvaluationError as error:
        raise EvaluationError(
            f"{error} in the {real.split} set of --dataset={config.dataset}; --score_epochs=0 leaves scores out"
        ) from error


def periodic_scores(config, data, real, generate_batches, run_dir, seed, report):
    """The `PeriodicScores` of a training run.

    Args:
        config: The run's settings.
        data: The run's data, on which the classifier `domain` is trained.
        real: `ImageSource` of the images to compare with, of which at most `--score_samples` are drawn.
        generate_batches: As of `PeriodicScores`.
        run_dir: The run directory. Scores that it has already must be of the same protocol.
        seed: Of latents, draw and permutations.
        report: Called with each line for the user.

    Raises:
        EvaluationError: for a classifier that is not to be had, too few real images, or scores of another protocol.
    """
    check_real_images(config, real)
    classifier = load_classifier(
        config.score_classifier,
        value_range=pixel_range(config.score_classifier_range) if config.score_classifier_range else None,
        data=data,
        data_name=config.dataset,
        report=report,
        flags=TRAINING,
    )
    indices = chosen_indices(real.count, min(config.score_samples, real.count), seed)
    scores = PeriodicScores(classifier, generate_batches, config.score_samples, real, indices, seed=seed)
    check_protocol(run_dir, scores, _REMEDY)
    return scores
