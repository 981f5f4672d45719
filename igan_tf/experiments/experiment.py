"""One training in one run directory."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from igan_tf.data import ImageData
from igan_tf.errors import ConfigError, counted, renamed
from igan_tf.evaluation.callback import PeriodicScores
from igan_tf.evaluation.classifiers.classifier import Classifier
from igan_tf.evaluation.protocol import write_protocol
from igan_tf.experiments import periodic_scores, runs
from igan_tf.experiments.configs import RunConfig, as_lines
from igan_tf.experiments.preflight import resolved
from igan_tf.experiments.recipes import recipe_of
from igan_tf.experiments.run_directory import (
    refuse_fewer_epochs,
    refuse_lost_checkpoints,
    refuse_other_settings,
    save_config,
    write_result,
)
from igan_tf.files import StrPath, disk
from igan_tf.metrics.registry import curve_names
from igan_tf.models.averaged_classifier import couples_any_examples
from igan_tf.records.reader import ImageRecords
from igan_tf.training import distribution
from igan_tf.training.checkpoints import Checkpoints
from igan_tf.training.cluster import this_worker
from igan_tf.training.distribution import same_of_all_workers
from igan_tf.training.interruption import Interrupted
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
        classifier: What scores the samples; None: nothing does.
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
        self._late_signal: int | None = None
        replicas = self.strategy.num_replicas_in_sync
        self.batches = self.recipe.make_batches(data, replicas, self.worker)
        identity = self._identity()
        # Before the networks: of other sizes, they would end in TensorFlow's words at the first exchange.
        told = json.dumps([identity, config.epochs, config.all_reduce_megabytes], sort_keys=True)
        self._refuse_differing(zlib.crc32(told.encode()) % 2**20, "the workers have not the same settings and data")
        # Of the weights at the start.
        keras.utils.set_random_seed(config.seed)
        with self.strategy.scope():
            self.model = self.recipe.build_model(data.image_shape, data.num_classes, self.batches.steps_per_epoch)
        # Where several passes are summed up these would choose another order in each run; for the whole process.
        free = not couples_any_examples(self.model.discriminator)
        tf.config.optimizer.set_experimental_options({"arithmetic_optimization": free, "constant_folding": free})
        self.checkpoints = Checkpoints(self.run_dir / "checkpoints", warn=report)
        self.trainer = Trainer(self.model, self.batches, self.checkpoints, config, self.strategy, identity, self.worker)

    def _refuse_differing(self, number: int, what: str) -> None:
        """Raises a ConfigError, the same on all workers, where `number`, below 2^20, is not the same on all."""
        if not same_of_all_workers(self.strategy, self.worker, number):
            raise ConfigError(f"worker {self.worker.index} of {self.worker.count}: {what}")

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

    def run(self, more: Mapping[str, Any] | None = None, followed: bool = False) -> dict[str, Any]:
        """Trains to the end, from the newest checkpoint if there is one.

        Args:
            more: What the result says besides.
            followed: Whether the process trains another run next.

        Returns:
            The result, as the chief writes it, before other workers end.

        Raises:
            Interrupted: after a signal, everything being saved; in the last epoch's end only where another run follows.
        """
        with distribution.together():
            result = {**self._run(), **(more or {})}
            if self.worker.is_chief:
                write_result(self.run_dir, result)
        if followed and self._late_signal:
            raise Interrupted(self._late_signal)
        return result

    def take_up(self) -> bool:
        """Takes up the newest checkpoint, if there is one; returns whether there was.

        Raises:
            ConfigError, CheckpointError, EvaluationError: where the run directory holds another run.
        """
        refuse_other_settings(self.run_dir, self.config)
        self._scores = self._periodic_scores()
        resumed = self.trainer.restore()
        refuse_fewer_epochs(self.run_dir, self.config, self.trainer.epochs_begun)
        if not resumed:
            refuse_lost_checkpoints(self.run_dir)
        return resumed

    def _run(self) -> dict[str, Any]:
        resumed = self.take_up()
        if not resumed:
            with self.strategy.scope():
                self._initialize()
        # Only the chief writes a log.
        self.log = self._open_log(resumed) if self.worker.is_chief else None
        try:
            if resumed:
                step, done = self.trainer.step, self.trainer.epochs_done >= self.config.epochs
                found = f"finished at step {step}; more epochs continue it" if done else f"continuing after step {step}"
                self.report(f"{self.run_dir}: {found}")
            if self.log and self.trainer.epochs_done < self.config.epochs:
                steps = counted(self.batches.steps_per_epoch, "step")
                self.report(f"{steps} an epoch, a line after each epoch")
            self._late_signal = self.trainer.train(self._end_epoch, self._end_step)
            return self._finish()
        finally:
            if self.log:
                self.log.close()

    def _initialize(self) -> None:
        run_dir = self.config.init_from
        if not run_dir:
            self.recipe.initialize(self.model, self.batches)
            return
        with renamed(run_dir="init_from"):
            saved = runs.read_checkpoint(run_dir, warn=self.report)
        self._refuse_differing(
            int(saved.sha256[:5], 16),
            f"`init_from={run_dir}` must hold the same weights for all workers. Received: those of step "
            f"{saved.position['step']}, SHA-256 {saved.sha256[:16]}",
        )
        runs.start_from(self.model, run_dir, saved)
        self.report(f"weights of step {saved.position['step']} of {run_dir}, SHA-256 {saved.sha256[:16]}")

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
        """What scores the samples, or None."""
        if self._classifier is None:
            return None
        real = self.recipe.real_images(self.data)
        return periodic_scores.periodic_scores(
            self.config, self._classifier, real, self.model.generate_batches, self.run_dir, _SAMPLE_SEED
        )

    def _end_step(self, step: int, logs: Callable[[], dict[str, float]]) -> None:
        """Losses and samples inside an epoch; `logs()` gives the losses of the step."""
        config = self.config
        if self.log is None:
            return
        if config.log_steps and step % config.log_steps == 0:
            self.log.write_metrics({"step": step, **{f"step/{name}": value for name, value in logs().items()}})
        early = config.early_sample_steps
        is_early = early and step <= _EARLY_STEPS and step % early == 0
        if self.recipe.generates and (is_early or self._sample_timer.due()):
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
        last = self.log.last_epoch or self.recipe.test_errors(self.model, self.data)
        result: dict[str, Any] = {name: last[name] for name in ("test_error", "averaged_test_error") if name in last}
        result.update({name: value for name, value in last.items() if name.endswith("_loss")})
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
