"""The loop, around a model of one number: fast, and a loss can be anything at any step."""

import os
import signal
import types

import numpy as np
import pytest
import tensorflow as tf

from igan_tf.errors import DataError
from igan_tf.experiments.configs import build_config
from igan_tf.training import CheckpointError, Checkpoints, NonFiniteLossError, Trainer
from igan_tf.training.interruption import Interrupted

STEPS_PER_EPOCH = 4
EPOCHS = 3
NAN, INF = float("nan"), float("inf")
IDENTITY = {"--seed": 1, "data": "0f"}


class OneNumber:
    """A "model" whose state is a mixture of all batches seen; `losses[name][step]` are its losses."""

    def __init__(self, losses=None, states=None):
        self.losses = {"first_loss": {}, "second_loss": {}, **(losses or {})}
        self.states = states or {}
        self.state = tf.Variable(0.0, dtype=tf.float64)
        self.count = tf.Variable(0, dtype=tf.int64)

    def state_variables(self):
        return {"state": self.state, "count": self.count}

    def train_step(self, batch):
        logs = {}
        step = self.count.assign_add(1)
        self.state.assign(self.state * 0.9 + tf.cast(batch, tf.float64))
        for at, value in self.states.items():
            self.state.assign(tf.where(step == at, tf.constant(value, tf.float64), self.state))
        for name, values in self.losses.items():
            logs[name] = tf.cast(self.state, tf.float32) / 3
            for at, value in values.items():
                logs[name] = tf.where(step == at, value, logs[name])
        return logs


class Numbers:
    """Batches that are numbers, a function of epoch and step; `before[(epoch, step)]` is called as one is drawn."""

    steps_per_epoch = STEPS_PER_EPOCH

    def __init__(self, before=None):
        self.before = before or {}
        self.drawn = []

    def epoch(self, epoch, start_step=0):
        for step in range(start_step, self.steps_per_epoch):
            self.before.get((epoch, step), lambda: None)()
            self.drawn.append((epoch, step))
            yield tf.constant(epoch + step / 7)


def make_trainer(folder, model=None, batches=None, identity=IDENTITY, **settings):
    config = build_config(dataset="digits", **{"epochs": EPOCHS, **settings})
    strategy = tf.distribute.get_strategy()
    return Trainer(model or OneNumber(), batches or Numbers(), Checkpoints(folder), config, strategy, identity)


class Notes:
    """An `on_epoch_end` that notes its calls; `errors` are the test errors by epoch."""

    def __init__(self, errors=()):
        self.errors = errors
        self.calls = []
        self.seconds = []

    def __call__(self, epoch, step, means):
        self.seconds.append(means.pop("seconds_per_step", None))
        assert self.seconds[-1] is None or self.seconds[-1] > 0
        self.calls.append((epoch, step, means))
        error = dict(enumerate(self.errors, start=1)).get(epoch)
        return {} if error is None else {"test_error": error, "averaged_test_error": error}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    trainer, notes = make_trainer(tmp_path_factory.mktemp("uninterrupted")), Notes()
    trainer.train(notes)
    return trainer, notes


def test_every_batch_once_and_the_epochs_means(uninterrupted):
    trainer, notes = uninterrupted
    assert trainer.batches.drawn == [(epoch, step) for epoch in range(EPOCHS) for step in range(STEPS_PER_EPOCH)]
    assert [(epoch, step) for epoch, step, _ in notes.calls] == [(1, 4), (2, 8), (3, 12)]
    state, expected = 0.0, []
    for epoch in range(EPOCHS):
        losses = []
        for step in range(STEPS_PER_EPOCH):
            state = state * 0.9 + np.float32(epoch + step / 7)
            losses.append(state / 3)
        expected.append(np.mean(losses))
    np.testing.assert_allclose([means["first_loss"] for _, _, means in notes.calls], expected, rtol=1e-6)
    assert (trainer.step, trainer.epochs_done) == (12, 3)


def resume(folder):
    """Trains to the end with a new model; returns model and notes."""
    trainer, notes = make_trainer(folder), Notes()
    assert trainer.restore()
    trainer.train(notes)
    return trainer, notes


def assert_same_end(resumed, uninterrupted, notes, all_notes):
    assert resumed.model.state.numpy() == uninterrupted.model.state.numpy()
    assert resumed.model.count.numpy() == uninterrupted.model.count.numpy() == resumed.step
    # Means over the whole epoch, bit for bit, though part of it ran in another process.
    assert notes.calls == all_notes.calls[-len(notes.calls) :]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("at", [(0, 0), (0, 2), (0, 3), (1, 0), (1, 1), (2, 3)])
def test_a_signal_stops_after_the_step_and_the_rest_is_bit_equal(tmp_path, uninterrupted, at, signum):
    stopped = make_trainer(tmp_path, batches=Numbers({at: lambda: os.kill(os.getpid(), signum)}))
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(Interrupted, match=r"stopped by (Ctrl-C|SIGTERM); saved, the same command continues") as caught:
        stopped.train(Notes())
    assert caught.value.signum == signum
    assert stopped.batches.drawn[-1] == at
    assert stopped.checkpoints.steps()[-1] == at[0] * STEPS_PER_EPOCH + at[1] + 1
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    resumed, notes = resume(tmp_path)
    following = (at[0], at[1] + 1)
    assert stopped.batches.drawn + resumed.batches.drawn == uninterrupted[0].batches.drawn
    assert not resumed.batches.drawn or resumed.batches.drawn[0] >= following
    assert_same_end(resumed, uninterrupted[0], notes, uninterrupted[1])


def test_an_epoch_of_which_no_step_was_left_has_no_time_of_a_step(tmp_path):
    with pytest.raises(Interrupted):
        make_trainer(tmp_path, batches=Numbers({(0, 3): lambda: os.kill(os.getpid(), signal.SIGTERM)})).train(Notes())
    _, notes = resume(tmp_path)
    assert [seconds is None for seconds in notes.seconds] == [True, False, False]


class Died(BaseException):
    """Stands for SIGKILL: nothing is saved."""


@pytest.mark.parametrize("at", [(1, 0), (1, 3), (2, 2)])
def test_a_death_costs_no_more_than_the_time_since_the_checkpoint(tmp_path, uninterrupted, at):
    def die():
        raise Died

    dead = make_trainer(tmp_path, batches=Numbers({at: die}))
    with pytest.raises(Died):
        dead.train(Notes())
    assert dead.checkpoints.steps()[-1] == at[0] * STEPS_PER_EPOCH
    resumed, notes = resume(tmp_path)
    assert_same_end(resumed, uninterrupted[0], notes, uninterrupted[1])


def test_a_signal_at_an_epochs_end_is_heard(tmp_path):
    trainer = make_trainer(tmp_path)

    def at_end(epoch, step, means):
        os.kill(os.getpid(), signal.SIGTERM)
        return {}

    with pytest.raises(Interrupted):
        trainer.train(at_end)
    assert trainer.checkpoints.steps()[-1] <= STEPS_PER_EPOCH + 1


def test_training_on_with_more_epochs_is_the_same_as_at_once(tmp_path, uninterrupted):
    make_trainer(tmp_path, epochs=1).train(Notes())
    resumed, notes = resume(tmp_path)
    assert_same_end(resumed, uninterrupted[0], notes, uninterrupted[1])


def test_a_finished_run_does_nothing_more(tmp_path):
    make_trainer(tmp_path).train(Notes())
    resumed, notes = resume(tmp_path)
    assert notes.calls == [] and resumed.batches.drawn == [] and resumed.step == 12


def test_nothing_to_restore(tmp_path):
    assert not make_trainer(tmp_path).restore()


def test_the_position_carries_the_identity(tmp_path):
    trainer = make_trainer(tmp_path, epochs=1)
    trainer.train(Notes())
    _, position, _ = trainer.checkpoints.load_newest()
    assert position["identity"] == IDENTITY and position["step"] == 4 and position["epoch"] == 1


def test_another_run_is_not_continued(tmp_path):
    make_trainer(tmp_path, epochs=1).train(Notes())
    trainer = make_trainer(tmp_path, epochs=1, identity={**IDENTITY, "data": "e5"})
    with pytest.raises(CheckpointError, match=r"(?s)other settings or data.*data: .*'0f', now 'e5'$"):
        trainer.restore()
    assert trainer.step == 0


def test_a_checkpoint_without_an_identity_is_named(tmp_path):
    trainer = make_trainer(tmp_path, epochs=1)
    trainer.train(Notes())
    arrays, position, _ = trainer.checkpoints.load_newest()
    del position["identity"]
    trainer.checkpoints.save(position["step"], arrays, position)
    with pytest.raises(CheckpointError, match=r"step-000000004 was written by an early version"):
        make_trainer(tmp_path, epochs=1).restore()


# Which checkpoints stay.


@pytest.mark.parametrize(
    ("errors", "kept"),
    [((0.3, 0.1, 0.2, 0.4, 0.5), [8, 16, 20]), ((0.1, 0.1, 0.1, 0.1, 0.1), [4, 16, 20]), ((), [16, 20])],
)
def test_the_best_and_the_last_two_stay(tmp_path, errors, kept):
    trainer = make_trainer(tmp_path, epochs=5)
    trainer.train(Notes(errors))
    assert trainer.checkpoints.steps() == kept


def test_the_best_survives_a_resume(tmp_path):
    errors = (0.3, 0.1, 0.2, 0.4, 0.5)
    make_trainer(tmp_path, epochs=2).train(Notes(errors))
    trainer = make_trainer(tmp_path, epochs=5)
    trainer.restore()
    trainer.train(Notes(errors))
    assert trainer.checkpoints.steps() == [8, 16, 20]


def test_the_best_of_those_saved_stays(tmp_path):
    # Epoch 3 is better than all, but has no checkpoint.
    trainer = make_trainer(tmp_path, epochs=8, checkpoint_epochs=2)
    trainer.train(Notes((0.9, 0.2, 0.1, 0.4, 0.5, 0.6, 0.7, 0.8)))
    assert trainer.checkpoints.steps() == [8, 24, 32]


def test_the_last_epoch_is_saved_whatever_the_interval(tmp_path):
    trainer = make_trainer(tmp_path, epochs=3, checkpoint_epochs=2)
    trainer.train(Notes())
    assert trainer.checkpoints.steps() == [8, 12]


# Numbers that are none.


@pytest.mark.parametrize("name", ["first_loss", "second_loss"])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("step", [5, 6, 8])
def test_a_loss_that_is_not_finite_stops_within_a_step_and_is_named(tmp_path, name, value, step):
    trainer = make_trainer(tmp_path, OneNumber({name: {step: value}}))
    with pytest.raises(NonFiniteLossError, match=f"^{name} is {value} at step {step}, epoch 2; .*checkpoint is step 4"):
        trainer.train(Notes())
    assert trainer.model.count.numpy() <= step + 1
    assert trainer.checkpoints.steps() == [4]


def test_a_nan_in_the_first_step_says_that_there_is_no_checkpoint(tmp_path):
    trainer = make_trainer(tmp_path, OneNumber({"first_loss": {1: NAN}}))
    with pytest.raises(NonFiniteLossError, match="at step 1, epoch 1; there is no checkpoint yet"):
        trainer.train(Notes())
    assert trainer.checkpoints.steps() == []


def test_a_nan_loss_in_the_step_of_a_signal_is_not_saved(tmp_path):
    batches = Numbers({(1, 1): lambda: os.kill(os.getpid(), signal.SIGTERM)})
    trainer = make_trainer(tmp_path, OneNumber({"first_loss": {6: NAN}}), batches)
    with pytest.raises(NonFiniteLossError, match="at step 6"):
        trainer.train(Notes())
    assert trainer.checkpoints.steps() == [4]


@pytest.mark.parametrize("value", [NAN, INF])
def test_a_state_that_is_not_finite_is_never_saved(tmp_path, value):
    # The losses are finite still: the update after the last of them spoilt the state.
    losses = {"first_loss": {8: 1.0}, "second_loss": {8: 1.0}}
    trainer = make_trainer(tmp_path, OneNumber(losses, states={8: value}))
    with pytest.raises(NonFiniteLossError, match="state is not finite after step 8; the last checkpoint is step 4's"):
        trainer.train(Notes())
    assert trainer.checkpoints.steps() == [4]
    assert np.isfinite(trainer.checkpoints.load(4)[0]["state"])


# What a checkpoint is given to.


def test_another_model_is_refused_and_left_alone(tmp_path):
    make_trainer(tmp_path, epochs=1).train(Notes())

    class TwoNumbers(OneNumber):
        def state_variables(self):
            return {**super().state_variables(), "more": tf.Variable([1.0, 2.0])}

    trainer = make_trainer(tmp_path, TwoNumbers())
    with pytest.raises(CheckpointError, match=r"step-000000004 is of another network:\n  more: not in the checkpoint"):
        trainer.restore()
    assert trainer.model.count.numpy() == 0 and trainer.step == 0


def test_a_damaged_newest_is_passed_over_and_the_end_is_the_same(tmp_path, uninterrupted, capsys):
    make_trainer(tmp_path, epochs=2).train(Notes())
    (tmp_path / "step-000000008" / "state.npz").write_bytes(b"")
    resumed, notes = resume(tmp_path)
    assert "step-000000008 is damaged" in capsys.readouterr().out
    assert_same_end(resumed, uninterrupted[0], notes, uninterrupted[1])
    assert [call[0] for call in notes.calls] == [2, 3]


def failing(kind):
    def fail():
        raise kind(None, None, "at this batch")

    return fail


@pytest.mark.parametrize(
    ("kind", "raised"),
    [
        (tf.errors.DataLossError, DataError),
        (tf.errors.InvalidArgumentError, DataError),
        (tf.errors.ResourceExhaustedError, tf.errors.ResourceExhaustedError),
        (tf.errors.InternalError, tf.errors.InternalError),
    ],
)
def test_a_devices_failure_is_not_the_datas(tmp_path, kind, raised):
    trainer = make_trainer(tmp_path, batches=Numbers({(0, 2): failing(kind)}))
    with pytest.raises(raised, match="at this batch"):
        trainer.train(Notes())


def test_on_one_gpu_the_next_batch_is_copied_ahead(tmp_path, monkeypatch):
    asked, options = [], tf.data.Options()

    class Dataset:
        def options(self):
            return options

        def apply(self, transformation):
            return transformation(self)

        def with_options(self, given):
            asked.append(given)
            return iter([tf.constant(1.0)] * STEPS_PER_EPOCH)

    class OnDisk(Numbers):
        def epoch(self, epoch, start_step=0):
            return Dataset()

    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [types.SimpleNamespace(name="/GPU:0")])
    monkeypatch.setattr(
        tf.data.experimental, "prefetch_to_device", lambda device: asked.append(device) or (lambda batches: batches)
    )
    make_trainer(tmp_path, batches=OnDisk(), epochs=1).train(Notes())
    assert asked == ["/GPU:0", options]


@pytest.mark.parametrize(("steps", "recorded"), [("2,3", [2, 3]), ("11,99", [11, 12]), ("", []), ("50,60", [])])
def test_the_profiler_records_the_steps_asked_for(tmp_path, monkeypatch, steps, recorded):
    """From any epoch on; it is stopped at the end, too."""
    at, running = [], []
    monkeypatch.setattr(tf.profiler.experimental, "start", lambda folder: running.append(folder))
    monkeypatch.setattr(tf.profiler.experimental, "stop", running.clear)
    trainer = make_trainer(tmp_path / "checkpoints", profile_steps=steps)
    function = trainer.train_function

    def run(batch, step, stop):
        if running:
            assert running == [str(tmp_path)]
            at.append(step + 1)
        return function(batch, step, stop)

    run.log_names = []
    trainer.train_function = run
    monkeypatch.setattr(trainer, "_named", lambda logs: {})
    trainer.train(Notes())
    assert at == recorded and not running
