"""Scores during training: every few epochs, on fresh samples, under one protocol."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from igan_tf.errors import EvaluationError
from igan_tf.evaluation.classifiers.classifier import Classifier
from igan_tf.evaluation.images import GeneratedSource, ImageSource
from igan_tf.evaluation.protocol import check_protocol, versions, write_protocol
from igan_tf.evaluation.scores import classify, score
from igan_tf.evaluation.statistics import FeatureStatistics
from igan_tf.files import disk, durable, json_files
from igan_tf.files.json_lines import as_line, read_lines
from igan_tf.metrics.checks import whole_number
from igan_tf.metrics.registry import (
    Metric,
    MetricOptions,
    Needs,
    best_curve,
    check_sizes,
    curve_values,
    metrics,
    options_class,
    with_short_names,
)

_LINE = json_files.record({}, others=True)


class PeriodicScores:
    """Scores of a generator's samples against fixed real images, as often as it is called.

    The figures are the curves of the metrics that are quick enough (`igan_tf.metrics.registry`): `inception_score`,
    `inception_deviation`, `frechet_distance`, `kernel_distance` and, as the mark to reach, `real_inception_score`, that
    of the real images in splits of about as many. What they stand for, such as the classifier and the number of
    samples, is in `protocol()`.

    Args:
        classifier: A `Classifier`.
        generate_batches: Called with a number of images and a seed; yields batches of them in `image_range`. The same
            seed every time: the same latents, so that figures differ by the generator alone.
        num_samples: How many samples.
        reference: `ImageSource` of real images, classified at the first call; None: only scores that need none.
        reference_indices: Which of them, sorted; None: all.
        seed: Of latents and permutations.
        image_range: (black, white) of the samples.
        **options: The metrics' options, such as `splits`.

    A UserWarning names what looks wrong in samples or real images, such as another range than the declared one.

    Raises:
        EvaluationError: for fewer samples or real images than a metric needs.
    """

    def __init__(
        self,
        classifier: Classifier,
        generate_batches: Callable[[int, int], Iterable[np.ndarray]],
        num_samples: int = 5000,
        reference: ImageSource | None = None,
        reference_indices: np.ndarray | None = None,
        *,
        seed: int = 0,
        image_range: tuple[float, float] = (0.0, 1.0),
        **options: Any,
    ):
        self.classifier = classifier
        self.num_samples = whole_number(num_samples, "num_samples", low=2)
        self.options: Any = options_class()(**options)
        self.seed = whole_number(seed, "seed", low=0)
        self._samples = GeneratedSource(
            lambda: generate_batches(self.num_samples, self.seed), self.num_samples, "samples", image_range=image_range
        )
        self._reference = reference
        self._reference_indices = reference_indices
        # The real images' statistics and curves, computed once.
        self._real: tuple[FeatureStatistics, dict[str, float]] | None = None
        self._real_count = None
        if reference is not None:
            self._real_count = reference.count if reference_indices is None else len(reference_indices)
        self.check_counts(self.num_samples, self._real_count, self.options)

    @staticmethod
    def check_counts(num_samples: int, real_count: int | None, options: MetricOptions | None = None) -> None:
        """Raises an EvaluationError where there are too few samples or, unless None, real images for the metrics.

        `options`: of `options_class()`; None: the defaults.
        """
        sizes, received = [num_samples], f"num_samples={num_samples}"
        if real_count is not None:
            sizes, received = [num_samples, real_count], f"{received} and {real_count} real images"
        check_sizes(_curve_metrics(real_count is not None), sizes, options or options_class()(), received)

    def __call__(self) -> dict[str, float]:
        """The figures of this moment."""
        reference: FeatureStatistics | None = None
        curves: dict[str, float] = {}
        if self._reference is not None:
            if self._real is None:
                self._real = self._score_reference(self._reference)
            reference, curves = self._real
        classified = classify(self._samples, self.classifier)
        compute = _curve_metrics(reference is not None)
        scores, lines = score(classified, reference, self.options, self.seed, compute)
        _warn(classified.warnings + lines)
        for metric in compute:
            curves = {**curves, **curve_values(metric, scores)}
        return curves

    def _score_reference(self, reference: ImageSource) -> tuple[FeatureStatistics, dict[str, float]]:
        """Statistics of the real images, and of each metric that needs no comparison the first curve."""
        real = classify(reference, self.classifier, self._reference_indices)
        _warn(real.warnings)
        compute = _curve_metrics(compares=False)
        # Fewer images than samples go into fewer splits of the same size: with its images the score falls.
        splits = max(1, round(self.options.splits * len(real.values) / self.num_samples))
        options = dataclasses.replace(self.options, splits=min(self.options.splits, splits))
        scores, _ = score(real, None, options, self.seed, compute)
        first = [next(iter(curve_values(metric, scores).items())) for metric in compute]
        return real.statistics, {f"real_{name}": value for name, value in first}

    def protocol(self) -> dict[str, Any]:
        """What the figures stand for, JSON-serialisable."""
        return {
            "num_samples": self.num_samples,
            "seed": self.seed,
            **{name: getattr(self.options, name) for metric in _curve_metrics(True) for name in metric.option_names()},
            "classifier": self.classifier.about,
            "reference": None if self._reference is None else [self._reference.name, self._reference.split],
            "real_images": self._real_count,
            "versions": versions(),
        }


def _curve_metrics(compares: bool) -> list[Metric]:
    """The metrics that are computed during training; `compares`: also those that need real images."""
    return [metric for metric in metrics() if metric.curves and (compares or metric.needs == Needs.VALUES)]


def _warn(lines: Iterable[str]) -> None:
    for line in lines:
        # Python shows a repeated line once.
        warnings.warn(line, UserWarning, stacklevel=3)


class ScoreCallback(keras.callbacks.Callback):
    """Scores samples every few epochs of a `fit`.

    The figures that `PeriodicScores` computes go into the epoch's `logs`, so that callbacks after
    this one have them; into `<log_dir>/metrics.jsonl`, a line a scored epoch with `"best": true` where `monitor`, the
    Inception Score, is the highest so far; and into TensorBoard's files in the same folder. To keep the best weights,
    also where a training is continued with `initial_epoch`:

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

    def __init__(self, scores: PeriodicScores, log_dir: str | Path, epochs: int = 1):
        super().__init__()
        self.scores = scores
        self.log_dir = Path(log_dir)
        self.epochs = whole_number(epochs, "epochs", low=1)
        self.monitor = best_curve()
        self._writer = None
        self._begun = False

    @property
    def best(self) -> dict[str, Any] | None:
        """The line of metrics.jsonl with the highest `monitor`, or None."""
        lines = [line for line in self._lines() if line.get("best")]
        return lines[-1] if lines else None

    @property
    def highest(self) -> float | None:
        """The highest `monitor` in metrics.jsonl, or None."""
        best = self.best
        return None if best is None else best[self.monitor]

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        check_protocol(self.log_dir, self.scores, "restore what it was then, or name another `log_dir`")
        # Refuses another program's file before the first epoch.
        self._begun = not self._lines()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # The first call tells at which epoch this training begins.
        if not self._begun and epoch == 0:
            raise EvaluationError(
                f"{self.log_dir / 'metrics.jsonl'} has scores of an earlier training, which this one would replace: "
                "continue that one with `initial_epoch`, or name another `log_dir`"
            )
        self._begun = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        number = epoch + 1
        if number % self.epochs and number != self.params.get("epochs"):
            return
        figures = self.scores()
        if logs is not None:
            logs.update(figures)
        self._write_line(number, figures)
        writer = self._tensorboard()
        with writer.as_default(step=number):
            for name, value in figures.items():
                tf.summary.scalar(name, value)
        writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write_line(self, number: int, figures: dict[str, float]) -> None:
        # Lines of this epoch and later ones belong to an interrupted training that is being repeated.
        lines = [line for line in self._lines() if line["epoch"] < number]
        before = max((line[self.monitor] for line in lines), default=-np.inf)
        lines.append({"epoch": number, **figures, "best": figures[self.monitor] > before})
        disk.make_folder(self.log_dir, parents=True)
        write_protocol(self.log_dir, self.scores)
        durable.write_text(self.log_dir / "metrics.jsonl", "".join(map(as_line, lines)))

    def _lines(self) -> list[dict[str, Any]]:
        path = self.log_dir / "metrics.jsonl"
        schema = json_files.record(
            {"epoch": json_files.WHOLE, self.monitor: json_files.NUMBER},
            {"best": json_files.FLAG},
            others=json_files.NUMBER,
        )
        try:
            return [json_files.check(with_short_names(line), schema, path) for line in read_lines(path, _LINE)]
        except (disk.UnusableFile, json_files.DamagedFile) as error:
            raise EvaluationError(f"{path} is not this callback's: {error}; name another `log_dir`") from error

    def _tensorboard(self) -> tf.summary.SummaryWriter:
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self.log_dir))
        return self._writer
