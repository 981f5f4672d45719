"""Runs the benchmarks and writes name: value as JSON.

Most are ratios of two things timed in turn; of several processes the value is the median.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks import cifar10, evaluation, imagenet, minibatch, mnist, records, replicas, start
from benchmarks.timing import ROOT
from igan_tf.commands.start import import_tensorflow

BENCHMARKS = {
    "mnist_step_ratio": mnist.EXPERIMENT.step_ratio,
    "mnist_bfloat16_ratio": mnist.EXPERIMENT.bfloat16_ratio,
    "mnist_pytorch_ratio": mnist.EXPERIMENT.pytorch_ratio,
    "mnist_first_step_seconds": partial(start.first_step_seconds, "mnist"),
    "mnist_replicas_ratio": partial(replicas.replicas_ratio, "mnist", repetitions=40),
    "cifar10_step_ratio": cifar10.EXPERIMENT.step_ratio,
    "cifar10_bfloat16_ratio": cifar10.EXPERIMENT.bfloat16_ratio,
    "cifar10_pytorch_ratio": cifar10.EXPERIMENT.pytorch_ratio,
    "cifar10_bfloat16_pytorch_ratio": partial(cifar10.EXPERIMENT.pytorch_ratio, "mixed_bfloat16"),
    "imagenet_step_ratio": imagenet.EXPERIMENT.step_ratio,
    "imagenet_bfloat16_ratio": imagenet.EXPERIMENT.bfloat16_ratio,
    "imagenet_first_step_seconds": partial(start.first_step_seconds, "imagenet"),
    "imagenet_replicas_ratio": partial(replicas.replicas_ratio, "imagenet", repetitions=3),
    "imagenet_two_tape_ratio": imagenet.imagenet_two_tape_ratio,
    "frozen_sampling_ratio": imagenet.frozen_sampling_ratio,
    "noise_time_ratio": mnist.noise_time_ratio,
    "minibatch_time_ratio": minibatch.minibatch_time_ratio,
    "minibatch_memory_ratio": minibatch.minibatch_memory_ratio,
    "evaluation_throughput_ratio": evaluation.evaluation_throughput_ratio,
    "evaluation_throughput_mobilenet_ratio": evaluation.evaluation_throughput_mobilenet_ratio,
    "frechet_time_ratio": evaluation.frechet_time_ratio,
    "evaluation_peak_gigabytes": evaluation.evaluation_peak_gigabytes,
    "records_throughput_ratio": records.records_throughput_ratio,
    "folder_reading_ratio": records.folder_reading_ratio,
    "records_reading_rate": records.records_reading_rate,
}


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", required=True, help="file that gets the values by name")
    parser.add_argument("--only", choices=BENCHMARKS, nargs="+", help="these benchmarks instead of all")
    parser.add_argument("--processes", type=int, default=1, help="fresh processes for each benchmark, all in turn")
    arguments = parser.parse_args()
    if arguments.processes < 1:
        parser.error(f"--processes must be at least 1. Received: {arguments.processes}")
    try:
        Path(arguments.json).write_text("{}\n")
    except OSError as error:
        parser.error(f"--json={arguments.json}: {error.strerror}")
    names = arguments.only or list(BENCHMARKS)
    rounds = _in_processes(names, arguments.processes) if arguments.processes > 1 else _here(names)
    # After every benchmark, of several processes after every round: a later one may fail.
    for found in rounds:
        Path(arguments.json).write_text(json.dumps(found, indent=2) + "\n")


def _here(names):
    """Yields, after each benchmark, the values so far."""
    # As the package's commands do; it also chooses Keras's backend for the processes that a benchmark starts.
    import_tensorflow()
    values = {}
    for name in names:
        result = BENCHMARKS[name]()
        if result is None:
            print(f"{name}: not measured, PyTorch is not installed")
            continue
        values[name] = result["value"]
        print(f"{name}: {result['value']:.3f}", flush=True)
        for key, value in result["details"].items():
            print(f"  {key}: {value}", flush=True)
        yield values


def _in_processes(names, count):
    """Yields, after each of `count` rounds, the medians so far of all benchmarks, each in a process of its own."""
    values = {}
    for _ in range(count):
        for name in names:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "value.json"
                command = [sys.executable, "-m", "benchmarks", "--only", name, "--json", str(file)]
                subprocess.run(command, cwd=ROOT, check=True)
                for value in json.loads(file.read_text()).values():
                    values.setdefault(name, []).append(value)
        yield {name: statistics.median(measured) for name, measured in values.items()}
    print("\nmedians, and the values of each process:")
    for name, measured in values.items():
        print(f"{name}: {statistics.median(measured):.3f} ({', '.join(f'{value:.3f}' for value in measured)})")


if __name__ == "__main__":
    main()
