"""A grid of training runs as processes of their own, several at once, each a normal run directory."""

from __future__ import annotations

import collections
import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from igan_tf.experiments.configs import RunConfig, as_text
from igan_tf.experiments.run_directory import read_result
from igan_tf.files import disk
from igan_tf.files.json_files import DamagedFile
from igan_tf.training.interruption import Interrupted
from igan_tf.training.run_log import read_metrics

# Should this process be killed, the kernel ends its runs: they save, and the next start finds none still at work.
_LAUNCH = (
    "import ctypes, runpy, signal, sys\n"
    "if sys.platform == 'linux':\n"
    "    ctypes.CDLL(None).prctl(1, signal.SIGTERM)\n"  # PR_SET_PDEATHSIG
    "runpy.run_module('igan_tf.main', run_name='__main__', alter_sys=True)\n"
)


class ReadConfig(Protocol):
    """Function of a flag file's name in `run_configs/` and further flags to the run's `RunConfig`."""

    def __call__(self, flagfile: str, *own: str) -> RunConfig: ...


@dataclasses.dataclass(frozen=True)
class Run:
    """One cell of the grid."""

    name: str
    config: RunConfig
    folder: Path

    @property
    def run_dir(self) -> Path:
        return self.folder / self.name

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def result(self) -> dict[str, Any] | None:
        """The finished run's `result.json`, or None if it has not trained to its last epoch."""
        result = read_result(self.run_dir)
        return result if result is not None and result["epochs"] >= self.config.epochs else None

    def training_seconds(self) -> float | None:
        """Time that the run's steps took, without evaluation and start; None without whole metrics."""
        try:
            # Between them are those of `log_steps`.
            lines = [line for line in read_metrics(self.run_dir / "metrics.jsonl") if "epoch" in line]
        except (disk.UnusableFile, DamagedFile):
            # The run's errors do not depend on them, nor do the other runs.
            return None
        if not lines:
            return None
        steps = [line["step"] for line in lines]
        return sum(
            line.get("seconds_per_step", 0.0) * (step - before)
            for line, step, before in zip(lines, steps, [0, *steps[:-1]])
        )


def train(
    runs: Sequence[Run], parallel: int, on_finished: Callable[[Run], Any], report: Callable[[str], Any] = print
) -> dict[str, str]:
    """Trains those runs that are not finished.

    Args:
        runs: List of `Run`.
        parallel: How many train at once.
        on_finished: Called with each run that ends well.
        report: Called with each line for the user.

    Returns:
        Dict of the failed runs' names and why: the last line of their log.

    Raises:
        Interrupted: after a signal, when every process has saved and ended.
    """
    waiting = collections.deque(run for run in runs if run.result() is None)
    working: dict[int, tuple[Run, subprocess.Popen[bytes]]] = {}
    failed: dict[str, str] = {}

    stop_signal: int | None = None
    may_raise = False

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal stop_signal
        stop_signal = signum
        # Not inside `on_finished`: Keras turns what its calls raise into something else.
        if may_raise:
            raise Interrupted(signum)

    previous = {signum: signal.signal(signum, stop) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        while waiting or working:
            while waiting and len(working) < parallel:
                run = waiting.popleft()
                report(f"{run.name}: started, {len(waiting)} waiting; its output: {run.log}")
                process = _start(run)
                working[process.pid] = run, process
            may_raise = True
            if stop_signal is not None:
                raise Interrupted(stop_signal)
            pid, status = os.wait()
            may_raise = False
            if pid not in working:
                continue
            run, process = working.pop(pid)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode == 0:
                report(f"{run.name}: finished")
                on_finished(run)
            else:
                failed[run.name] = f"exit code {process.returncode}: {_last_line(run.log)}"
                report(f"{run.name}: FAILED, {failed[run.name]}")
        if stop_signal is not None:
            raise Interrupted(stop_signal)
    finally:
        may_raise = False
        for _, process in working.values():
            process.terminate()
        for _, process in working.values():
            process.wait()
        for signum, handler in previous.items():
            signal.signal(signum, handler)
    return failed


def _start(run: Run) -> subprocess.Popen[bytes]:
    disk.make_folder(run.log.parent, parents=True)
    # As a file: of the settings that a user types, each must have an effect.
    command = [sys.executable, "-c", _LAUNCH, "--flagfile=/dev/stdin", f"--run_dir={run.run_dir}"]
    with tempfile.TemporaryFile() as settings, open(run.log, "ab") as log:
        settings.write(as_text(run.config).encode())
        settings.seek(0)
        # A session of its own: Ctrl-C reaches this process alone, which then stops them in order.
        return subprocess.Popen(command, stdin=settings, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output"
