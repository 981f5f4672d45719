"""Timing two things against each other, in one process or in two that take turns."""

import contextlib
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def alternate(first, second, repetitions, warm_up=3):
    """Median seconds of two callables that each finish their work before they return, called in turn."""
    times = ([], [])
    for repetition in range(warm_up + repetitions):
        for callable_, taken in zip((first, second), times):
            start = time.perf_counter()
            callable_()
            if repetition >= warm_up:
                taken.append(time.perf_counter() - start)
    return tuple(statistics.median(taken) for taken in times)


def median_seconds(call, repetitions=5):
    """Median seconds of a callable that finishes its work before it returns, called once before."""
    call()
    taken = []
    for _ in range(repetitions):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def output_of(module, *arguments):
    """The last line that `python -m MODULE ARGUMENTS` prints, a process of its own."""
    process = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT, env=os.environ | {"KERAS_BACKEND": "tensorflow"}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return process.stdout.splitlines()[-1]


@contextlib.contextmanager
def in_another_process(*module_and_arguments):
    """Yields a function that has another process, `python -m MODULE ARGUMENTS`, do once what it gave `take_turns`.

    For what cannot be timed beside the other side in one process: two pools of threads would be in each other's way.
    """
    command = [sys.executable, "-m", *module_and_arguments]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, bufsize=1, **pipes) as process:

        def turn():
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write("\n")
            if not process.stdout.readline():
                raise RuntimeError(f"{' '.join(module_and_arguments)} ended with status {process.wait()}")

        try:
            yield turn
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()


def take_turns(call):
    """Calls `call` whenever the process that started this one says so, until that says no more."""
    for _ in sys.stdin:
        call()
        print(flush=True)
