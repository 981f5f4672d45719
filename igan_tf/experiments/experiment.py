"""From a config to a finished run directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from igan_tf.data import ImageData
from igan_tf.errors import first_line
from igan_tf.evaluation.callback import PeriodicScores
from igan_tf.evaluation.classifiers.classifier import Classifier
from igan_tf.evaluation.protocol import write_protocol
from igan_tf.experiments import periodic_scores
from igan_tf.experiments.configs import RunConfig, as_lines
from igan_tf.experiments.preflight import check_against_data, check_machine, resolved, scorer
from igan_tf.experiments.recipes import recipe_of
from igan_tf.experiments.run_directory import (
    refuse_fewer_epochs,
    refuse_lost_checkpoints,
    refuse_other_settings,
    save_config,
    sole_trainer,
    write_result,
)
from igan_tf.files import StrPath, disk
from igan_tf.metrics.registry import curve_names
from igan_tf.models.adversarial_model import couples_any_examples
from igan_tf.records.reader import ImageRecords
from igan_tf.training import distribution
from igan_tf.training.checkpoints import Checkpoints
from igan_tf.training.cluster import WorkerLostError, this_worker
from igan_tf.training.distribution import LOST
from igan_tf.training.run_log import RunLog
from igan_tf.training.timer import Timer
from igan_tf.training.trainer import Trainer

_SAMPLE_SEED = 0
# The first steps, in which samples change fast.
_EARLY_STEPS = 300


class Experiment:
    """One training in one run directory.

    Of several workers the first alone writes there; all read its checkpoints, so that it must be on storage that they
    share.

    Args:
        config: The settings.
        data: The `ImageData` or `ImageRecords`.
        run_dir: Where results go; nothing is written before `run`.
        report: Called with each line for the user.
        classifier: What scores the samples; None: it is loaded when the run begins.
    """

    def __init__(
        self,
        config: RunConfig,
        data: ImageData | ImageRecords,
        run_dir: StrPath,
        report: Callable[[str], Any] = print,
        classifier: Classifier | None = None,
    ) -> None:
        self.config = resolved(config)
        self.data = data
        self.run_dir = Path(run_dir)
        self.report = report
        self._classifier = classifier
        self.recipe = recipe_of(self.config)
        self.strategy = distribution.strategy_of(config, report)
        self.worker = this_worker()
        self._sample_timer = Timer(config.sample_minutes)
        replicas = self.strategy.num_replicas_in_sync
        self.batches = self.recipe.make_batches(data, replicas, self.worker)
        with self.strategy.scope():
            self.model = self.recipe.build_model(data.image_shape, data.num_classes, self.batches.steps_per_epoch)
        if couples_any_examples(self.model.discriminator):
            # In the sums of several passes these would choose another order in each run; for the whole process.
            tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False, "constant_folding": False})
        self.checkpoints = Checkpoints(self.run_dir / "checkpoints", warn=report)
        self.trainer = Trainer(
            self.model, self.batches, self.checkpoints, config, self.strategy, self._identity(), self.worker
        )

    def _identity(self) -> dict[str, Any]:
        """What must be equal for a run to be continued; `load_run` builds the networks from it without the data."""
        return {
            **self.config.fixed(),
            "image_shape": list(self.data.image_shape),
            "num_classes": self.data.num_classes,
            "steps_per_epoch": self.batches.steps_per_epoch,
            "SHA-256 of the data": self.data.fingerprint(),
            **self.recipe.identity(self.batches),
            # Each replica draws noise of its own.
            "replicas": self.strategy.num_replicas_in_sync,
        }

    def run(self) -> dict[str, Any]:
        """Trains to the end, from the newest checkpoint if there is one, and returns the result."""
        with distribution.together():
            return self._run()

    def _run(self) -> dict[str, Any]:
        refuse_other_settings(self.run_dir, self.config)
        self._scores = self._periodic_scores()
        resumed = self.trainer.restore()
        refuse_fewer_epochs(self.run_dir, self.config, self.trainer.epochs_done)
        if not resumed:
            refuse_lost_checkpoints(self.run_dir)
            with self.strategy.scope():
                self.recipe.initialize(self.model, self.batches)
        # Only the chief writes a log.
        self.log = self._open_log(resumed) if self.worker.is_chief else None
        try:
            if resumed:
                step, done = self.trainer.step, self.trainer.epochs_done >= self.config.epochs
                found = f"finished at step {step}; more epochs continue it" if done else f"continuing after step {step}"
                self.report(f"{self.run_dir}: {found}")
            if self.log and self.trainer.epochs_done < self.config.epochs:
                self.report(f"{self.batches.steps_per_epoch} steps an epoch, a line after each epoch")
            self.trainer.train(self._end_epoch, self._end_step)
            return self._finish()
        finally:
            if self.log:
                self.log.close()

    def _open_log(self, resumed: bool) -> RunLog:
        # Before the first line of metrics: without this folder, checkpoints were lost.
        disk.make_folder(self.checkpoints.folder, parents=True)
        # Nothing stays of a run that starts anew.
        log = RunLog(self.run_dir, self.trainer.recorded_step if resumed else -1)
        save_config(self.run_dir, self.config)
        if not resumed:
            log.describe(as_lines(self.config), self.data.in_words(), self.config.telling())
        return log

    def _periodic_scores(self) -> PeriodicScores | None:
        """What scores the samples, or None; an unavailable classifier ends the run before it begins."""
        classifier = self._classifier or scorer(self.config, self.data, self.report)
        if classifier is None:
            return None
        real = self.recipe.real_images(self.data)
        return periodic_scores.periodic_scores(
            self.config, classifier, real, self.model.generate_batches, self.run_dir, _SAMPLE_SEED
        )

    def _end_step(self, step: int, logs: Callable[[], dict[str, float]]) -> None:
        """Losses and samples inside an epoch; `logs()` gives the losses of the step."""
        config = self.config
        if self.log is None:
            return
        if config.log_steps and step % config.log_steps == 0:
            self.log.write_metrics({"step": step, **{f"step/{name}": value for name, value in logs().items()}})
        early = config.early_sample_steps
        if (early and step <= _EARLY_STEPS and step % early == 0) or self._sample_timer.due():
            # Raises before samples are written if a loss is not finite.
            logs()
            self._write_samples(self.log, f"step-{step:08d}", step)

    def _end_epoch(self, epoch: int, step: int, means: dict[str, float]) -> dict[str, Any]:
        """Everything that is due after an epoch; returns its metrics."""
        if self.log is None:
            return means
        config = self.config
        metrics = {"epoch": epoch, "step": step, **means, **self.recipe.test_errors(self.model, self.data)}
        if self._scores and (epoch % config.score_epochs == 0 or epoch == config.epochs):
            metrics.update(self._scores())
            write_protocol(self.run_dir, self._scores)
        if self.recipe.generates and (epoch % config.sample_epochs == 0 or epoch == config.epochs):
            self._write_samples(self.log, f"epoch-{epoch:04d}", step)
        if config.histogram_epochs and epoch % config.histogram_epochs == 0:
            self.log.write_histograms(self.recipe.histograms(self.model, self.batches), step)
        self.log.write_metrics(metrics)
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items() if isinstance(value, float))
        self.report(f"epoch {epoch}/{config.epochs}  {numbers}")
        return metrics

    def _write_samples(self, log: RunLog, name: str, step: int) -> None:
        count = self.recipe.samples_in_grid
        log.write_samples(self.model.generate(count, _SAMPLE_SEED, batch_size=count), name, step)

    def _finish(self) -> dict[str, Any]:
        if self.log is None:
            return {"steps": self.trainer.step}
        # Metrics that were damaged may have been moved away.
        last = [{}, *self.log.metrics()][-1] or self.recipe.test_errors(self.model, self.data)
        result: dict[str, Any] = {name: last[name] for name in ("test_error", "averaged_test_error") if name in last}
        result.update(
            epochs=self.trainer.epochs_done,
            steps=self.trainer.step,
            seed=self.config.seed,
            **self.recipe.facts(self.batches),
            data=self.data.in_words(),
        )
        if self._scores:
            result.update({name: last[name] for name in curve_names() if name in last})
            result["best_score"] = self.trainer.best_score
        return result


def train(config: RunConfig, run_dir: StrPath, report: Callable[[str], Any] = print) -> dict[str, Any]:
    """Everything that `--mode=train` does: data, baseline, each draw of labels, `result.json`.

    Returns:
        The result, as written to `run_dir/result.json`; of a worker that is not the chief, the steps alone.
    """
    check_machine(config, report)
    config = resolved(config)
    # Before the data, which another data set's name would look for elsewhere.
    refuse_other_settings(run_dir, config)
    data = recipe_of(config).load_data()
    report(data.in_words())
    for fault in data.unreadable:
        report(f"left out: {fault}")
    run_dir = Path(run_dir)
    check_against_data(config, data)
    # Before the run directory is made.
    classifier = scorer(config, data, report)
    if this_worker().count > 1:
        return _train_with_others(config, data, run_dir, report, classifier)
    with sole_trainer(run_dir):
        if recipe_of(config).draws():
            return _train_draws(config, data, run_dir, report, classifier)
        return _train_draw(config, data, run_dir, report, classifier)


def _train_with_others(
    config: RunConfig,
    data: ImageData | ImageRecords,
    run_dir: Path,
    report: Callable[[str], Any],
    classifier: Classifier | None,
) -> dict[str, Any]:
    """One run of several workers, of which the chief writes."""
    worker = this_worker()
    try:
        if not worker.is_chief:
            return Experiment(config, data, run_dir, report).run()
        with sole_trainer(run_dir):
            return _train_draw(config, data, run_dir, report, classifier)
    except LOST as error:
        # Outside of the steps, within which the trainer says more.
        raise WorkerLostError(
            f"worker {worker.index} of {worker.count} lost another outside of the steps; its own output says why "
            f"({type(error).__name__}: {first_line(error)})"
        ) from error


def _train_draws(
    config: RunConfig,
    data: ImageData | ImageRecords,
    run_dir: Path,
    report: Callable[[str], Any],
    classifier: Classifier | None,
) -> dict[str, Any]:
    """One run a draw in folders of their own; the result has the means and lists the draws."""
    configs = recipe_of(config).draws()
    for name, one in configs.items():
        refuse_other_settings(run_dir / name, one)
    save_config(run_dir, config)
    draws = []
    for number, (name, one) in enumerate(configs.items(), start=1):
        report(f"label draw {number} of {len(configs)}: {name}")
        with sole_trainer(run_dir / name) as draw_dir:
            draws.append(_train_draw(one, data, draw_dir, report, classifier))
    errors = [name for name in draws[0] if name.endswith("test_error")]
    result = {
        **{name: float(np.mean([draw[name] for draw in draws])) for name in errors},
        **{name: draws[0][name] for name in ("epochs", "steps", "seed", "seed_data", "labels", "data")},
        "draws": draws,
    }
    write_result(run_dir, result)
    return result


def _train_draw(
    config: RunConfig,
    data: ImageData | ImageRecords,
    run_dir: Path,
    report: Callable[[str], Any],
    classifier: Classifier | None,
) -> dict[str, Any]:
    """The baseline, where it is asked for, in `run_dir/supervised`, then the run itself."""
    experiment = Experiment(config, data, run_dir, report, classifier)
    baseline = {}
    if alone := experiment.recipe.baseline():
        report(f"the discriminator on {experiment.batches.num_labelled} labelled examples alone:")
        with sole_trainer(Path(run_dir) / "supervised") as supervised_dir:
            supervised = Experiment(alone, data, supervised_dir, report).run()
            write_result(supervised_dir, supervised)
        baseline = {f"supervised_{name}": supervised[name] for name in supervised if name.endswith("test_error")}
        report("the semi-supervised GAN:")
    result = {**experiment.run(), **baseline}
    write_result(run_dir, result)
    return result
