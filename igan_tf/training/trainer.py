"""The training loop: Keras's `fit` can neither start inside an epoch nor repeat one exactly."""

import contextlib
import signal
import sys
import time

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from igan_tf.training.checkpoints import CheckpointError, differences, restore_state, state_of


class NonFiniteLossError(ArithmeticError):
    """A loss became NaN or infinite; the message names it and the step."""


class Interrupted(Exception):
    """SIGTERM or Ctrl-C; everything is saved."""

    def __init__(self, signum):
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


class Trainer:
    """Drives `model.train_step` over epochs, from any step on, bit for bit as if never interrupted.

    Args:
        model: A compiled model with `train_step` and `state_variables()`.
        batches: An object with `steps_per_epoch` and `epoch(epoch, start_step) -> tf.data.Dataset`.
        checkpoints: A `Checkpoints`.
        config: The run's `Config`.
        strategy: A `tf.distribute.Strategy`; batches are split over its replicas.
        identity: JSON-serialisable dict of what makes this run this run, settings and data. Every checkpoint's position
            carries it as `identity`; a checkpoint that differs in an entry is not continued.
    """

    def __init__(self, model, batches, checkpoints, config, strategy, identity):
        self._identity = identity
        self.model = model
        self.batches = batches
        self.checkpoints = checkpoints
        self.config = config
        self.strategy = strategy
        self.step = 0
        self._step_in_epoch = 0
        self._epoch = 0
        # Sums of the logs over the epoch so far; kept in checkpoints, so that a resumed epoch's means are the same.
        self._sums = {}
        self._best = None
        self._best_score = None
        self._last_error = ""
        self._stop_signal = None
        self._train_function = self._make_train_function()

    @property
    def epochs_done(self):
        return self._epoch

    @property
    def best_score(self):
        """Step, name and value of the highest Inception Score among the checkpoints so far, or None."""
        return self._best_score

    def restore(self):
        """Takes up the newest whole checkpoint, if there is one; returns whether there was.

        Raises:
            CheckpointError: if it is of another run; the message lists the differences.
        """
        saved = self.checkpoints.load_newest()
        if saved is None:
            return False
        arrays, position = saved
        where = self.checkpoints.path(position["step"])
        if changed := differences(position["identity"], self._identity):
            raise CheckpointError(f"{where} is of a run with other settings or data:\n  " + "\n  ".join(changed))
        restore_state(self.model.state_variables(), arrays, where)
        self.step = position["step"]
        self._epoch, self._step_in_epoch = position["epoch"], position["step_in_epoch"]
        self._sums, self._best = dict(position["sums"]), position["best"]
        # Checkpoints of before there were scores have none.
        self._best_score = position.get("best_score")
        return True

    def save(self):
        """Writes a checkpoint of this moment.

        Raises:
            NonFiniteLossError: where the last update left a variable that is not finite; nothing is written.
        """
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

    def train(self, on_epoch_end):
        """Trains to `config.epochs`.

        Args:
            on_epoch_end: Called with the epoch's number from 1, the step and the means of its logs; returns the
                epoch's metrics, in which the lowest `averaged_test_error` and the highest `inception_score_...` each
                mark a best checkpoint. An epoch with such a score is checkpointed whatever its number.

        Raises:
            NonFiniteLossError: within a step of the loss that is not finite; no checkpoint holds its consequences.
            Interrupted: after a signal; the position is saved.
        """
        with self._signals():
            while self._epoch < self.config.epochs:
                started = time.perf_counter()
                steps = self.batches.steps_per_epoch - self._step_in_epoch
                self._train_rest_of_epoch()
                means = {name: total / self.batches.steps_per_epoch for name, total in self._sums.items()}
                means["seconds_per_step"] = (time.perf_counter() - started) / max(steps, 1)
                metrics = on_epoch_end(self._epoch + 1, self.step, means)
                if "test_error" in metrics:
                    self._last_error = f", test error {metrics['test_error']:.4f}"
                self._epoch, self._step_in_epoch, self._sums = self._epoch + 1, 0, {}
                due = self._epoch % self.config.checkpoint_epochs == 0 or self._epoch == self.config.epochs
                if due or _inception_score(metrics):
                    # Of the epochs that have a checkpoint: one without could not be kept.
                    self._note_best(metrics)
                    self.save()

    def _train_rest_of_epoch(self):
        dataset = self.batches.epoch(self._epoch, self._step_in_epoch)
        if self.strategy.num_replicas_in_sync > 1:
            dataset = self.strategy.experimental_distribute_dataset(dataset)
        progress = tqdm(
            total=self.batches.steps_per_epoch,
            initial=self._step_in_epoch,
            desc=f"epoch {self._epoch + 1}/{self.config.epochs}{self._last_error}",
            disable=not sys.stderr.isatty(),
            leave=False,
        )
        # The host reads a step's losses while the device works on the next.
        pending = None
        with progress:
            for batch in dataset:
                logs = self._train_function(batch)
                if pending is not None:
                    self._take(pending, progress)
                pending = logs
                self._step_in_epoch += 1
                self.step += 1
                if self._stop_signal is not None:
                    self._take(pending, progress)
                    self.save()
                    raise Interrupted(self._stop_signal)
            if pending is not None:
                self._take(pending, progress)

    def _take(self, logs, progress):
        """Checks and sums up one step's logs."""
        values = dict(zip(self._log_names, np.asarray(logs).tolist()))
        for name, value in values.items():
            if not np.isfinite(value):
                raise NonFiniteLossError(
                    f"{name} is {value} at step {self.step}, epoch {self._epoch + 1}{self._last_checkpoint()}"
                )
            self._sums[name] = self._sums.get(name, 0.0) + value
        progress.set_postfix({name: f"{value:.3g}" for name, value in values.items() if "loss" in name}, refresh=False)
        progress.update()

    def _last_checkpoint(self):
        steps = self.checkpoints.steps()
        return f"; the last checkpoint is step {steps[-1]}'s" if steps else "; there is no checkpoint yet"

    def _make_train_function(self):
        def run(batch):
            logs = self.strategy.run(self.model.train_step, args=(batch,))
            self._log_names = list(logs)
            means = [self.strategy.reduce("MEAN", value, axis=None) for value in logs.values()]
            return tf.stack([tf.cast(value, tf.float32) for value in means])

        return tf.function(run, jit_compile=self.config.jit_compile, reduce_retracing=True)

    def _note_best(self, metrics):
        error = metrics.get("averaged_test_error")
        if error is not None and (self._best is None or error < self._best["averaged_test_error"]):
            self._best = {"step": self.step, "averaged_test_error": error}
        if scored := _inception_score(metrics):
            name, value = scored
            if self._best_score is None or value > self._best_score["value"]:
                self._best_score = {"step": self.step, "name": name, "value": value}

    @contextlib.contextmanager
    def _signals(self):
        """Lets SIGTERM and Ctrl-C end the run between two steps; a second one ends it at once."""

        def request_stop(signum, frame):
            self._stop_signal = signum
            signal.signal(signum, previous[signum])

        previous = {}
        for signum in (signal.SIGTERM, signal.SIGINT):
            previous[signum] = signal.signal(signum, request_stop)
        try:
            yield
            if self._stop_signal is not None:
                raise Interrupted(self._stop_signal)
        finally:
            for signum, handler in previous.items():
                signal.signal(signum, handler)


def _inception_score(metrics):
    """Name and value of the Inception Score among an epoch's metrics, or None."""
    return next((item for item in metrics.items() if item[0].startswith("inception_score_")), None)
