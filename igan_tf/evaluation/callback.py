"""Scores during training: every few epochs, on fresh samples, under one protocol."""

import json
import re
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from igan_tf.errors import EvaluationError
from igan_tf.evaluation.images import GeneratedSource
from igan_tf.evaluation.protocol import check_protocol, write_protocol
from igan_tf.evaluation.scores import KERNEL_BLOCK_SIZE, classify, score, versions
from igan_tf.files import durable
from igan_tf.metrics.checks import whole_number
from igan_tf.metrics.inception_score import inception_score
from igan_tf.metrics.kernel_distance import number_of_blocks


class PeriodicScores:
    """Scores of a generator's samples against fixed real images, as often as it is called.

    The figures' names carry the protocol: `inception_score_<p>`, its `inception_deviation_<p>`, `frechet_distance_<p>`,
    `kernel_distance_<p>` and, as the mark to reach, `real_inception_score_<p>`, where `<p>` is the classifier's name
    and the number of samples, such as `domain_mnist_n5000`.

    Args:
        classifier: A `Classifier`.
        generate_batches: Called with a number of images and a seed; yields batches of them in `image_range`. The same
            seed every time: the same latents, so that figures differ by the generator alone.
        num_samples: How many samples.
        reference: `ImageSource` of real images, classified at the first call; None: the Inception Score alone.
        reference_indices: Which of them, sorted; None: all.
        splits: Of the Inception Score.
        seed: Of latents and permutations.
        image_range: (black, white) of the samples.

    What looks wrong in samples or real images, such as another range than the declared one, is said by a UserWarning.

    Raises:
        EvaluationError: for fewer samples or real images than splits, or than the kernel distance needs.
    """

    def __init__(
        self,
        classifier,
        generate_batches,
        num_samples=5000,
        reference=None,
        reference_indices=None,
        splits=10,
        seed=0,
        image_range=(0.0, 1.0),
    ):
        self.classifier = classifier
        self.num_samples = whole_number(num_samples, "num_samples", low=2)
        self.splits = whole_number(splits, "splits", low=1)
        if self.num_samples < self.splits:
            raise EvaluationError(
                f"`num_samples` must be at least the number of splits, {splits}. Received: num_samples={num_samples}"
            )
        self.seed = whole_number(seed, "seed", low=0)
        self._samples = GeneratedSource(
            lambda: generate_batches(self.num_samples, self.seed), self.num_samples, "samples", image_range=image_range
        )
        self._reference = reference
        self._reference_indices = reference_indices
        # The real images' statistics and score: they stay the same.
        self._real = None
        if reference is not None:
            self._check_sizes(reference.count if reference_indices is None else len(reference_indices))
        self.suffix = f"{re.sub(r'[^A-Za-z0-9]+', '_', classifier.name).strip('_')}_n{self.num_samples}"

    @staticmethod
    def least_images(num_samples, splits=10):
        """The fewest real images that `num_samples` samples can be scored against, if they are no more than these."""
        return max(splits, 2 * number_of_blocks([num_samples], KERNEL_BLOCK_SIZE))

    def _check_sizes(self, real_count):
        """Raises an EvaluationError now instead of at the first score."""
        most, fewest = max(self.num_samples, real_count), min(self.num_samples, real_count)
        least = self.least_images(most, self.splits)
        if fewest < least:
            raise EvaluationError(
                f"`num_samples` and the real images must both be at least {least}, for {self.splits} splits and two of "
                f"each in every {KERNEL_BLOCK_SIZE} of {most}. "
                f"Received: num_samples={self.num_samples} and {real_count} images of {self._reference.name}"
            )

    def __call__(self):
        """The figures of this moment, a dict of floats."""
        figures = {}
        reference = None
        if self._reference is not None:
            if self._real is None:
                self._real = self._score_reference()
            reference, figures["real_inception_score"] = self._real
        samples = classify(self._samples, self.classifier)
        scores = score(samples, self.classifier, reference, self.splits, self.seed, neighbours=False)
        _warn(samples.warnings + scores["warnings"])
        figures["inception_score"] = scores["inception_score"]["mean"]
        figures["inception_deviation"] = scores["inception_score"]["std"]
        if reference is not None:
            figures["frechet_distance"] = scores["frechet_distance"]
            figures["kernel_distance"] = scores["kernel_distance"]["mean"]
        return {f"{name}_{self.suffix}": value for name, value in figures.items()}

    def _score_reference(self):
        """Statistics and Inception Score of the real images."""
        real = classify(self._reference, self.classifier, self._reference_indices)
        _warn(real.warnings)
        mean, _ = inception_score(real.values, self.splits, self.seed, self.classifier.from_logits)
        return real.statistics, mean

    def protocol(self):
        """What the figures stand for, JSON-serialisable."""
        classifier = self.classifier
        return {
            "suffix": self.suffix,
            "num_samples": self.num_samples,
            "splits": self.splits,
            "seed": self.seed,
            "classifier": {
                "name": classifier.name,
                "sha256": classifier.digest,
                "protocol": classifier.protocol,
            },
            "reference": None if self._reference is None else [self._reference.name, self._reference.split],
            "versions": versions(),
        }


def _warn(lines):
    for line in lines:
        # Python shows one line once, however often a training comes by.
        warnings.warn(line, UserWarning, stacklevel=3)


class ScoreCallback(keras.callbacks.Callback):
    """Scores samples every few epochs of a `fit`.

    The figures, of the names that `PeriodicScores` gives them, go into the epoch's `logs`, so that callbacks after
    this one have them; into `<log_dir>/metrics.jsonl`, a line a scored epoch with `"best": true` where the Inception
    Score is the highest so far; and into TensorBoard's files in the same folder. To keep the best weights, also where
    a training is continued with `initial_epoch`:

    ```python
    scores = ScoreCallback(PeriodicScores(classifier, model.generate_batches, 5000), log_dir="logs", epochs=5)
    best = keras.callbacks.ModelCheckpoint("best.weights.h5", monitor=scores.monitor, mode="max", save_best_only=True,
                                           save_weights_only=True, initial_value_threshold=scores.highest)
    model.fit(data, epochs=100, callbacks=[scores, best])
    ```

    Args:
        scores: A `PeriodicScores`.
        log_dir: The folder; made at the first score.
        epochs: Epochs between scores; the last one is scored too.

    Raises:
        EvaluationError: when the training begins, if `log_dir` has scores of another protocol, such as of another
            classifier of the same name, scores of another training, or a metrics.jsonl of something else.
    """

    def __init__(self, scores, log_dir, epochs=1):
        super().__init__()
        self.scores = scores
        self.log_dir = Path(log_dir)
        self.epochs = whole_number(epochs, "epochs", low=1)
        self.monitor = f"inception_score_{scores.suffix}"
        self._writer = None
        self._begun = False

    @property
    def best(self):
        """The line of metrics.jsonl of the highest Inception Score, or None."""
        lines = [line for line in self._lines() if line.get("best")]
        return lines[-1] if lines else None

    @property
    def highest(self):
        """The highest Inception Score in metrics.jsonl, or None."""
        return self.best and self.best[self.monitor]

    def on_train_begin(self, logs=None):
        check_protocol(self.log_dir, self.scores, "bring back what it was then, or name another `log_dir`")
        # Read before the first epoch: a file of something else is refused now.
        self._begun = not self._lines()

    def on_epoch_begin(self, epoch, logs=None):
        # The first time it says where this training begins.
        if not self._begun and epoch == 0:
            raise EvaluationError(
                f"{self.log_dir / 'metrics.jsonl'} has scores of an earlier training, which this one would replace: "
                "continue that one with `initial_epoch`, or name another `log_dir`"
            )
        self._begun = True

    def on_epoch_end(self, epoch, logs=None):
        number = epoch + 1
        if number % self.epochs and number != self.params.get("epochs"):
            return
        figures = self.scores()
        if logs is not None:
            logs.update(figures)
        self._write_line(number, figures)
        with self._tensorboard().as_default(step=number):
            for name, value in figures.items():
                tf.summary.scalar(name, value)
        self._writer.flush()

    def on_train_end(self, logs=None):
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write_line(self, number, figures):
        # Lines of this epoch and later ones are of an interrupted training that is being repeated.
        lines = [line for line in self._lines() if line["epoch"] < number]
        before = max((line[self.monitor] for line in lines), default=-np.inf)
        lines.append({"epoch": number, **figures, "best": figures[self.monitor] > before})
        self.log_dir.mkdir(parents=True, exist_ok=True)
        write_protocol(self.log_dir, self.scores)
        durable.write_text(self.log_dir / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))

    def _lines(self):
        path = self.log_dir / "metrics.jsonl"
        if not path.exists():
            return []
        try:
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            for line in lines:
                int(line["epoch"]), float(line[self.monitor])
        except (ValueError, KeyError, TypeError) as error:
            raise EvaluationError(f"{path} is not this callback's: {error!r}; name another `log_dir`") from error
        return lines

    def _tensorboard(self):
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self.log_dir))
        return self._writer
