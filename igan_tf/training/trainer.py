"""The training loop: Keras's `fit` can neither start inside an epoch nor repeat one exactly."""

from __future__ import annotations

import contextlib
import functools
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from igan_tf.errors import DataError, first_line
from igan_tf.metrics.registry import best_curve
from igan_tf.models.adversarial_model import AdversarialModel
from igan_tf.training.checkpoints import (
    CheckpointError,
    Checkpoints,
    check_taken_up,
    differences,
    identity_of,
    restore_state,
    state_of,
)
from igan_tf.training.cluster import ALONE, Worker, WorkerLostError
from igan_tf.training.distribution import LOST, same_of_all_workers
from igan_tf.training.interruption import Interrupted, StopRequest
from igan_tf.training.profiled_steps import ProfiledSteps
from igan_tf.training.timer import Timer
from igan_tf.training.train_function import TrainFunction

if TYPE_CHECKING:
    from igan_tf.experiments.configs import RunConfig

# Of an epoch's number from 1, the step and the means of the epoch's logs; returns the epoch's metrics.
OnEpochEnd: TypeAlias = Callable[[int, int, dict[str, float]], Mapping[str, Any]]
# Of a step's number and a function that waits for its losses.
OnStepEnd: TypeAlias = Callable[[int, Callable[[], dict[str, float]]], Any]


class NonFiniteLossError(ArithmeticError):
    """A loss became NaN or infinite; the message names it and the step."""


class Trainer:
    """Drives `model.train_step` over epochs, from any step on, bit for bit as if never interrupted.

    Args:
        model: The compiled model.
        batches: An object with `steps_per_epoch` and `epoch(epoch, start_step) -> tf.data.Dataset`.
        checkpoints: A `Checkpoints`.
        config: The run's `RunConfig`.
        strategy: A `tf.distribute.Strategy`; this worker's batches are split over its replicas.
        identity: JSON-serialisable dict of what makes this run this run, settings and data. Every checkpoint's position
            carries it as `identity`; a checkpoint that differs in an entry is not continued.
        worker: The `Worker` that this process is; only the chief writes checkpoints.
    """

    def __init__(
        self,
        model: AdversarialModel,
        batches: Any,
        checkpoints: Checkpoints,
        config: RunConfig,
        strategy: tf.distribute.Strategy,
        identity: dict[str, Any],
        worker: Worker = ALONE,
    ) -> None:
        self._identity = identity
        self.model = model
        self.batches = batches
        self.checkpoints = checkpoints
        self.config = config
        self.strategy = strategy
        self.worker = worker
        self.step = 0
        self._step_in_epoch = 0
        self._epoch = 0
        # Sums of the logs over the epoch so far; kept in checkpoints, so that a resumed epoch's means are the same.
        self._sums: dict[str, float] = {}
        self._best: dict[str, Any] | None = None
        self._best_score: dict[str, Any] | None = None
        self._last_error = ""
        self._stop = StopRequest()
        self._checkpoint_timer = Timer(config.checkpoint_minutes)
        self.train_function = TrainFunction(model, strategy, config.jit_compile)
        # One writer to a run directory.
        self._profile = ProfiledSteps(config.profile_steps if worker.is_chief else "", checkpoints.folder.parent)

    @property
    def epochs_done(self) -> int:
        return self._epoch

    @property
    def epochs_begun(self) -> int:
        """The epochs that are done, and one of which steps are."""
        return self._epoch + (self._step_in_epoch > 0)

    @property
    def recorded_step(self) -> int:
        """The last step whose records are complete: those of an epoch's last step come when the epoch is ended."""
        return self.step - (self._step_in_epoch == self.batches.steps_per_epoch)

    @property
    def best_score(self) -> dict[str, Any] | None:
        """Step, name and value of the highest score among the checkpoints so far, or None."""
        return self._best_score

    def restore(self) -> bool:
        """Takes up the newest whole checkpoint, if there is one; returns whether there was.

        Raises:
            CheckpointError: if it is of another run; the message lists the differences. Also where other workers do
                not find the same checkpoint.
        """
        saved = self.checkpoints.load_newest()
        if saved is not None:
            self._take_up(saved.arrays, saved.position)
        if not same_of_all_workers(self.strategy, self.worker, self.step):
            raise CheckpointError(
                f"worker {self.worker.index} of {self.worker.count} finds step {self.step}'s checkpoint in "
                f"{self.checkpoints.folder}, others another: `run_dir` must be on storage that all workers share"
            )
        return saved is not None

    def _take_up(self, arrays: dict[str, np.ndarray], position: dict[str, Any]) -> None:
        where = self.checkpoints.path(position["step"])
        if changed := differences(identity_of(position, where), self._identity):
            raise CheckpointError(f"{where} is of a run with other settings or data:\n  " + "\n  ".join(changed))
        check_taken_up(position, self.batches.steps_per_epoch, where)
        restore_state(self.model.state_variables(), arrays, where)
        self.step = position["step"]
        self._epoch, self._step_in_epoch = position["epoch"], position["step_in_epoch"]
        self._sums, self._best = dict(position["sums"]), position["best"]
        # Checkpoints of before there were scores have none; in early ones its name is longer.
        self._best_score = (best := position.get("best_score")) and {**best, "name": best_curve()}

    def save(self) -> None:
        """Writes a checkpoint of this moment.

        Raises:
            NonFiniteLossError: where the last update left a variable that is not finite; nothing is written.
        """
        if not self.worker.is_chief:
            return
        arrays = state_of(self.model.state_variables())
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise NonFiniteLossError(f"{name} is not finite after step {self.step}{self._last_checkpoint()}")
        position = {
            "identity": self._identity,
            "step": self.step,
            "epoch": self._epoch,
            "step_in_epoch": self._step_in_epoch,
            "sums": self._sums,
            "best": self._best,
            "best_score": self._best_score,
        }
        best_steps = [best["step"] for best in (self._best, self._best_score) if best]
        self.checkpoints.save(self.step, arrays, position, best_steps)

    def train(self, on_epoch_end: OnEpochEnd, on_step_end: OnStepEnd = lambda step, losses: None) -> int | None:
        """Trains to `config.epochs`; returns the signal that came too late to stop it, or None.

        Args:
            on_epoch_end: Called with the epoch's number from 1, the step and the means of its logs; returns metrics.
                The lowest `averaged_test_error` and the highest score each mark a best checkpoint.
            on_step_end: Called after each step but an epoch's last: its number, and a function that awaits its losses.

        Raises:
            NonFiniteLossError: within a step of the loss that is not finite; no checkpoint holds its consequences.
            Interrupted: after a signal; the position is saved.
            DataError: where the data turns out to be damaged.
            WorkerLostError: where another worker has ended or cannot be reached.
        """
        with self._stop.listening(), contextlib.closing(self._profile):
            while self._epoch < self.config.epochs:
                started = time.perf_counter()
                steps = self.batches.steps_per_epoch - self._step_in_epoch
                try:
                    self._train_rest_of_epoch(on_step_end)
                except LOST as error:
                    if self.worker.count == 1:
                        raise
                    raise WorkerLostError(
                        f"worker {self.worker.index} of {self.worker.count} lost another after step {self.step}"
                        f"{self._last_checkpoint()}; all started again continue from there "
                        f"({type(error).__name__}: {first_line(error)})"
                    ) from error
                means = {name: total / self.batches.steps_per_epoch for name, total in self._sums.items()}
                # None is left of an epoch that was stopped at its last step.
                if steps:
                    means["seconds_per_step"] = (time.perf_counter() - started) / steps
                metrics = on_epoch_end(self._epoch + 1, self.step, means)
                if "test_error" in metrics:
                    self._last_error = f", test error {metrics['test_error']:.4f}"
                self._epoch, self._step_in_epoch, self._sums = self._epoch + 1, 0, {}
                due = self._epoch % self.config.checkpoint_epochs == 0 or self._epoch == self.config.epochs
                if due or best_curve() in metrics:
                    # Of the epochs that have a checkpoint: one without could not be kept.
                    self._note_best(metrics)
                    self.save()
        return self._stop.signum

    def _train_rest_of_epoch(self, on_step_end: OnStepEnd) -> None:
        steps = self.batches.steps_per_epoch
        progress = tqdm(
            total=steps,
            initial=self._step_in_epoch,
            desc=f"epoch {self._epoch + 1}/{self.config.epochs}{self._last_error}",
            disable=not (self.worker.is_chief and sys.stderr.isatty()),
            leave=False,
        )
        # The host reads a step's losses while the device works on the next.
        pending, stop, told = None, False, False
        with progress:
            for batch in self._rest_of_epoch():
                self._profile.before(self.step + 1)
                logs = self.train_function(batch, self.step, bool(self._stop))
                if pending is not None:
                    told = self._take(pending, progress)
                pending = logs
                self._step_in_epoch += 1
                self.step += 1
                # Several workers heed what the step before this one told all of them, whatever each has read since.
                stop = told if self.worker.count > 1 else bool(self._stop)
                if self._step_in_epoch < steps:
                    on_step_end(self.step, functools.partial(self._named, logs))
                    if not stop and not self._checkpoint_timer.due():
                        continue
                told, pending = self._take(pending, progress), None
                if self._step_in_epoch == steps:
                    stop = stop or told
                if stop or self._step_in_epoch < steps:
                    self.save()
                if stop:
                    raise Interrupted(self._stop.signum or signal.SIGTERM)

    def _rest_of_epoch(self) -> Iterator[Any]:
        """Yields what is left of the epoch's batches, for one replica or distributed over several."""
        dataset = self.batches.epoch(self._epoch, self._step_in_epoch)
        if self.strategy.num_replicas_in_sync > 1:
            # Without an end: TensorFlow would ask all workers before each batch whether they have come to theirs.
            dataset = dataset.rebatch(self.config.batch_size, drop_remainder=True).repeat()
            dataset = self.strategy.distribute_datasets_from_function(lambda context: dataset)
        elif gpus := tf.config.list_logical_devices("GPU"):
            # As for several replicas, the next batch is copied during this step; what copies takes no options over.
            ahead = tf.data.experimental.prefetch_to_device(gpus[0].name)
            dataset = dataset.apply(ahead).with_options(dataset.options())
        iterator = iter(dataset)
        for _ in range(self.batches.steps_per_epoch - self._step_in_epoch):
            try:
                yield next(iterator)
            except (tf.errors.ResourceExhaustedError, *LOST):
                # Of the device that the batch was copied to, or of the memory.
                raise
            except tf.errors.OpError as error:
                raise DataError(f"the data of step {self.step + 1} cannot be read: {first_line(error)}") from error

    def _take(self, logs: tf.Tensor, progress: tqdm) -> bool:
        """Sums up one step's logs; returns whether a worker had been told to stop when it began."""
        values = self._named(logs)
        for name, value in values.items():
            # Of a running average the mean over an epoch would say nothing more.
            if not name.startswith("running_"):
                self._sums[name] = self._sums.get(name, 0.0) + value
        progress.set_postfix({name: f"{value:.3g}" for name, value in values.items() if "loss" in name}, refresh=False)
        progress.update()
        return bool(np.asarray(logs)[-1] > 0)

    def _named(self, logs: tf.Tensor) -> dict[str, float]:
        """The present step's logs by name, once they are found to be finite."""
        values = dict(zip(self.train_function.log_names, np.asarray(logs)[:-1].tolist()))
        for name, value in values.items():
            if not np.isfinite(value):
                raise NonFiniteLossError(
                    f"{name} is {value} at step {self.step}, epoch {self._epoch + 1}{self._last_checkpoint()}"
                )
        return values

    def _last_checkpoint(self) -> str:
        steps = self.checkpoints.steps()
        return f"; the last checkpoint is step {steps[-1]}'s" if steps else "; there is no checkpoint yet"

    def _note_best(self, metrics: Mapping[str, Any]) -> None:
        error = metrics.get("averaged_test_error")
        if error is not None and (self._best is None or error < self._best["averaged_test_error"]):
            self._best = {"step": self.step, "averaged_test_error": error}
        value = metrics.get(best_curve(), np.nan)
        if np.isfinite(value) and (self._best_score is None or value > self._best_score["value"]):
            self._best_score = {"step": self.step, "name": best_curve(), "value": value}
