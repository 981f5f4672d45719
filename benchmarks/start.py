"""The first training step of a process, from networks that are not built yet, its imports left out."""

import os
import subprocess
import sys

from benchmarks.timing import ROOT


def mnist_first_step_seconds():
    """Seconds to build, compile, trace and run MNIST's first step, in a fresh process."""
    return _first_step("mnist")


def imagenet_first_step_seconds():
    """Seconds to build, compile, trace and run ImageNet's first step at full width, in a fresh process."""
    return _first_step("imagenet")


def _first_step(experiment):
    command = [sys.executable, "-m", "benchmarks.start", experiment]
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    first, second = map(float, process.stdout.split()[-2:])
    return {"value": first - second, "details": {"with the first step": f"{first:.2f} s", "a step": f"{second:.3f} s"}}


def main():
    """Prints the seconds up to the end of the first step, and those of the second."""
    import time

    # What a training process has imported by then.
    from benchmarks import imagenet, mnist

    build = {"mnist": mnist.training_step, "imagenet": imagenet.training_step}[sys.argv[1]]
    times = [time.perf_counter()]
    step = build()
    for _ in range(2):
        step()
        times.append(time.perf_counter())
    print(times[1] - times[0], times[2] - times[1])


if __name__ == "__main__":
    main()
