"""Timing two things against each other, in one process or in two that take turns; memory."""

import contextlib
import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def alternate(*calls, repetitions, warm_up=1):
    """Median seconds of callables that each finish their work before they return, called in turn."""
    times = [[] for _ in calls]
    for repetition in range(warm_up + repetitions):
        for call, taken in zip(calls, times):
            start = time.perf_counter()
            call()
            if repetition >= warm_up:
                taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]


def median_seconds(call, repetitions=5):
    """Median seconds of one callable, called once before."""
    return alternate(call, repetitions=repetitions)[0]


def ratio(over, under, repetitions, warm_up=1, **more):
    """A benchmark's value and details: seconds of `over` over those of `under`, pairs (name, callable), in turn."""
    (name, call), (other_name, other_call) = over, under
    seconds, other_seconds = alternate(call, other_call, repetitions=repetitions, warm_up=warm_up)
    details = {name: f"{1e3 * seconds:.2f} ms", other_name: f"{1e3 * other_seconds:.2f} ms", **more}
    return {"value": seconds / other_seconds, "details": details}


def output_of(module, *arguments):
    """The JSON in the last line that `python -m MODULE ARGUMENTS` prints, a process of its own."""
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(process.stdout.splitlines()[-1])


def peak_bytes_so_far():
    """The most memory that this process has had."""
    status = Path("/proc/self/status")
    if status.exists():
        # On Linux ru_maxrss starts at the parent's peak; VmHWM is this program's own.
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


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
