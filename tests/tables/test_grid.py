"""The loop over processes, around ones that end at once."""

import os
import signal
import subprocess
import sys

import pytest

from igan_tf.experiments.configs import build_config
from igan_tf.tables import grid
from igan_tf.training.interruption import Interrupted


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two runs whose processes do nothing; a run named `fails` ends with 3."""

    def start(run):
        run.log.write_text("last words\n")
        return subprocess.Popen([sys.executable, "-c", f"import sys; sys.exit({3 if run.name == 'fails' else 0})"])

    monkeypatch.setattr(grid, "_start", start)
    return [grid.Run(name, build_config(), tmp_path) for name in ("first", "second")]


def test_every_run_is_started_and_reported(runs, tmp_path):
    finished = []
    failed = grid.train(
        [*runs, grid.Run("fails", build_config(), tmp_path)], 2, finished.append, report=lambda line: None
    )
    assert sorted(run.name for run in finished) == ["first", "second"]
    assert failed == {"fails": "exit code 3: last words"}


def test_the_time_of_an_epoch_that_has_none_is_left_out(runs):
    run = runs[0]
    run.run_dir.mkdir()
    (run.run_dir / "metrics.jsonl").write_text(
        '{"epoch": 1, "step": 3, "seconds_per_step": 0.5}\n{"epoch": 2, "step": 6}\n'
        '{"epoch": 3, "step": 9, "seconds_per_step": 1.5}\n'
    )
    assert run.training_seconds() == 6


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_waits_for_what_follows_a_run(runs, signum):
    """Raised inside of a Keras call, it would come out as another exception."""
    finished = []

    def on_finished(run):
        os.kill(os.getpid(), signum)
        finished.append(run.name)

    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(Interrupted) as caught:
        grid.train(runs, 1, on_finished, report=lambda line: None)
    assert caught.value.signum == signum and finished == ["first"]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers


def test_a_signal_after_the_last_run_is_not_lost(runs):
    with pytest.raises(Interrupted):
        grid.train(runs[:1], 1, lambda run: os.kill(os.getpid(), signal.SIGTERM), report=lambda line: None)


def test_a_signal_while_waiting_ends_the_runs(runs, monkeypatch):
    processes = []

    def start(run):
        process = subprocess.Popen(
            [sys.executable, "-c", "import os, signal; os.kill(os.getppid(), signal.SIGTERM); signal.pause()"]
        )
        processes.append(process)
        return process

    monkeypatch.setattr(grid, "_start", start)
    with pytest.raises(Interrupted):
        grid.train(runs, 1, lambda run: None, report=lambda line: None)
    assert [process.returncode for process in processes] == [-signal.SIGTERM]
