"""Whole runs on the digits: nothing lost wherever they stop, and what one has of them from Python."""

import os
import shutil
import signal
import time

import pytest
import tensorflow as tf

from igan_tf import load_run
from igan_tf.data import load_data
from igan_tf.errors import ConfigError
from igan_tf.experiments import run_directory
from igan_tf.experiments.configs import build_config
from igan_tf.experiments.experiment import Experiment
from igan_tf.experiments.recipes import recipe
from igan_tf.training import CheckpointError, Checkpoints
from igan_tf.training.interruption import Interrupted
from igan_tf.training.train_function import TrainFunction
from tests.command_line import FLAGS, assert_same_run, events, metrics, result, run_process
from tests.experiments.digits_runs import SETTINGS, damaged_copy, train
from tests.processes import Program


@pytest.fixture
def signal_at(monkeypatch):
    """Sends this process a SIGTERM as a step begins; -1: none."""
    original = TrainFunction.__call__
    at = {"step": -1}

    def run(self, batch, step, stop):
        if step + 1 == at["step"]:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, step, stop)

    monkeypatch.setattr(TrainFunction, "__call__", run)
    return lambda step: at.update(step=step)


# Nothing lost, in this process.


@pytest.mark.parametrize("step", [1, 2, 3, 4], ids=["first_step", "epochs_edge", "mid_epoch", "last_step"])
def test_stopped_and_continued_is_bit_equal(tmp_path, finished, signal_at, step):
    signal_at(step)
    with pytest.raises(Interrupted):
        train(tmp_path / "run")
    assert Checkpoints(tmp_path / "run" / "checkpoints").steps()[-1] == step
    assert not (tmp_path / "run" / "result.json").exists()
    signal_at(-1)
    lines = []
    train(tmp_path / "run", lines.append)
    assert any(f"continuing after step {step}" in line for line in lines)
    assert_same_run(tmp_path / "run", finished)


def test_a_death_after_a_metrics_line_at_an_edge_leaves_no_second_line(tmp_path, finished, signal_at, monkeypatch):
    # A checkpoint stands at the last step of epoch 1; its line is written, then the process dies.
    signal_at(2)
    with pytest.raises(Interrupted):
        train(tmp_path / "run")
    signal_at(-1)

    class Died(BaseException):
        pass

    def die(*args, **kwargs):
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", die)
        with pytest.raises(Died):
            train(tmp_path / "run")
    assert len(metrics(tmp_path / "run")) == 1
    train(tmp_path / "run")
    assert_same_run(tmp_path / "run", finished)


def test_a_death_before_the_first_checkpoint_leaves_nothing_twice(tmp_path, finished, monkeypatch):
    class Died(BaseException):
        pass

    def die(*args, **kwargs):
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", die)
        with pytest.raises(Died):
            train(tmp_path / "run")
    assert len(metrics(tmp_path / "run")) == 1
    train(tmp_path / "run")
    assert_same_run(tmp_path / "run", finished)


def test_a_damaged_newest_checkpoint_is_named_and_the_end_is_the_same(tmp_path, finished):
    run_dir = damaged_copy(finished, tmp_path / "run")
    lines = []
    train(run_dir, lines.append)
    assert any("step-000000004 is damaged" in line and "the one before" in line for line in lines)
    assert any("continuing after step 2" in line for line in lines)
    assert_same_run(run_dir, finished)


def test_more_epochs_continue_a_finished_run(tmp_path, finished):
    run_dir = shutil.copytree(finished, tmp_path / "run")
    assert train(run_dir, epochs=3)["steps"] == 6
    assert metrics(run_dir)[:2] == metrics(finished)
    assert [line["epoch"] for line in metrics(run_dir)] == [1, 2, 3]


def test_fewer_epochs_than_are_done_are_refused_and_nothing_is_written(tmp_path, finished):
    run_dir = shutil.copytree(finished, tmp_path / "run")
    for without_result in (False, True):
        if without_result:
            (run_dir / "result.json").unlink()
        with pytest.raises(ConfigError, match=r"`epochs` must be at least 2, .* Received: epochs=1"):
            train(run_dir, epochs=1)
        assert (run_dir / "flags.cfg").read_bytes() == (finished / "flags.cfg").read_bytes()
    # Of several draws, before the first.
    draws = tmp_path / "draws"
    shutil.copytree(finished, draws / "draw-1")
    with pytest.raises(ConfigError, match=r"`epochs` must be at least 2, .*draw-1`"):
        train(draws, epochs=1, label_draws=2)
    assert not (draws / "flags.cfg").exists()


def test_an_epoch_that_has_begun_counts(tmp_path, signal_at):
    signal_at(3)
    with pytest.raises(Interrupted):
        train(tmp_path / "run", log_steps=1)
    signal_at(-1)
    with pytest.raises(ConfigError, match=r"`epochs` must be at least 2, .* has begun. Received: epochs=1"):
        train(tmp_path / "run", epochs=1)
    assert not (tmp_path / "run" / "result.json").exists()


def test_one_run_leaves_no_options_of_graphs_to_the_next(tmp_path):
    for coupled in (True, False):
        config = build_config(**SETTINGS, minibatch_discrimination=coupled)
        Experiment(config, load_data(config), tmp_path, lambda line: None)
        options = tf.config.optimizer.get_experimental_options()
        assert options["arithmetic_optimization"] == options["constant_folding"] == (not coupled)


def test_without_its_flags_a_run_still_knows_its_settings(tmp_path, finished):
    run_dir = shutil.copytree(finished, tmp_path / "run")
    (run_dir / "flags.cfg").unlink()
    with pytest.raises(CheckpointError, match=r"(?s)other settings or data:.*--seed: .* 1, now 2"):
        train(run_dir, seed=2)
    assert not (run_dir / "flags.cfg").exists()
    train(run_dir)
    assert_same_run(run_dir, finished)
    assert (run_dir / "flags.cfg").read_bytes() == (finished / "flags.cfg").read_bytes()


def test_other_data_or_labels_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "labels.csv"
    path.write_text("".join(f"{index},{index % 3}\n" for index in range(30)))
    settings = {"label_file": str(path), "epochs": 1}
    train(tmp_path / "run", **settings)
    moved = path.rename(tmp_path / "moved.csv")
    train(tmp_path / "run", **{**settings, "label_file": str(moved)})
    moved.write_text(moved.read_text().replace("7,1", "7,2"))
    with pytest.raises(CheckpointError) as caught:
        train(tmp_path / "run", **{**settings, "label_file": str(moved)})
    assert "SHA-256 of the labelled examples" in str(caught.value) and "of the data" not in str(caught.value)

    def load_other_data(config, streamed):
        data = load_data(config, streamed)
        data.train_images[5, 0, 0, 0] += 1 / 16
        return data

    train(tmp_path / "digits", epochs=1)
    monkeypatch.setattr(recipe, "load_data", load_other_data)
    with pytest.raises(CheckpointError) as caught:
        train(tmp_path / "digits", epochs=1)
    assert "SHA-256 of the data" in str(caught.value) and "labelled" not in str(caught.value)


def test_flags_cfg_follows_what_may_change(tmp_path, finished):
    run_dir = shutil.copytree(finished, tmp_path / "run")
    train(run_dir, sample_epochs=7)
    assert run_directory.read_config(run_dir) == build_config(**SETTINGS, sample_epochs=7, noise="table")


# Nothing lost, in a process of its own.


def wait_for(condition, process, timeout=240):
    """Polls until `condition()` holds; fails if the process ends before."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_sigterm_and_sigkill(tmp_path):
    # So many epochs that the process is still at work when it is stopped after the second and the fifth.
    arguments = [*FLAGS, "--epochs=20", "--sample_epochs=8", "--histogram_epochs=5"]
    uninterrupted, run_dir = tmp_path / "uninterrupted", tmp_path / "run"
    done = run_process(*arguments, f"--run_dir={uninterrupted}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr

    def lines():
        path = run_dir / "metrics.jsonl"
        return path.read_text().count("\n") if path.exists() else 0

    for signum, after, code in ((signal.SIGKILL, 2, -signal.SIGKILL), (signal.SIGTERM, 5, 128 + signal.SIGTERM)):
        process = Program("igan_tf.main", [*arguments, f"--run_dir={run_dir}"], tmp_path)
        wait_for(lambda after=after: lines() >= after, process)
        process.send_signal(signum)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == code, errors
        assert not (run_dir / "result.json").exists()
        if signum == signal.SIGTERM:
            assert "stopped by SIGTERM; saved, the same command continues" in errors and "Traceback" not in errors
    done = run_process(*arguments, f"--run_dir={run_dir}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "continuing after step" in done.stdout
    assert_same_run(run_dir, uninterrupted)
    # Every eighth epoch's, and the last one's.
    assert sorted(path.stem for path in (run_dir / "samples").iterdir()) == ["epoch-0008", "epoch-0016", "epoch-0020"]


@pytest.mark.slow
def test_three_passes_of_the_discriminator_are_the_same_again(tmp_path):
    """TensorFlow's optimizations of graphs would sum their gradients up in an order of its own, anew in each run."""
    lines = []
    for name in "abc":
        train(tmp_path / name, minibatch_discrimination=True, epochs=1)
        lines += metrics(tmp_path / name)
    assert lines[0] == lines[1] == lines[2]


# What is trained.


def test_another_run_is_refused_before_a_baseline_trains(finished, tmp_path):
    run_dir = shutil.copytree(finished, tmp_path / "run")
    (run_dir / "flags.cfg").unlink()
    with pytest.raises(CheckpointError, match="supervised_baseline: the run was started with False"):
        train(run_dir, supervised_baseline=True)
    assert not (run_dir / "supervised").exists()


@pytest.mark.parametrize("name", ["checkpoints", "samples", "supervised"])
def test_nothing_is_read_or_written_through_a_link_in_a_run(finished, tmp_path, name):
    run_dir, home = shutil.copytree(finished, tmp_path / "run"), tmp_path / "home"
    if (run_dir / name).exists():
        (run_dir / name).rename(home)
    else:
        home.mkdir()
    (run_dir / name).symlink_to(home)
    before = sorted(home.rglob("*"))
    for use in (lambda: train(run_dir, epochs=3), lambda: load_run(run_dir)):
        with pytest.raises(ConfigError, match=f"holds a link to a folder, {name}"):
            use()
    assert sorted(home.rglob("*")) == before


def test_a_second_trainer_is_refused(tmp_path, finished):
    with (
        run_directory.sole_trainer(finished),
        pytest.raises(ConfigError, match=f"`run_dir={finished}` is in use by another training process"),
    ):
        train(finished)
    # Nor may one write what is inside: a draw's or the baseline's folder.
    inside = {"label_draws": 2, "supervised_baseline": True, "epochs": 1, "labels": 20}
    for part in ("draw-1", "draw-2/supervised"):
        with (
            run_directory.sole_trainer(tmp_path / part),
            pytest.raises(ConfigError, match=f"`run_dir={tmp_path}/{part}` is in use by another training process"),
        ):
            train(tmp_path, **inside)
    # And after the first has ended it is not.
    assert train(finished) == result(finished)


def test_nothing_stands_twice_on_tensorboard(finished):
    found = events(finished)
    assert len(found) == len(set(found)) and {step for step, _ in found} == {0, 2, 4}
