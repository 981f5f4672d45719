"""Runs the benchmarks, each a ratio of two things timed alternately in one process, and writes name: value as JSON."""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks import cifar10, evaluation, imagenet, minibatch, mnist, records

BENCHMARKS = {
    "mnist_step_ratio": mnist.mnist_step_ratio,
    "cifar10_step_ratio": cifar10.cifar10_step_ratio,
    "imagenet_step_ratio": imagenet.imagenet_step_ratio,
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
    parser.add_argument("--json", required=True, help="file that gets the ratios by name")
    parser.add_argument("--only", choices=BENCHMARKS, help="one benchmark instead of all")
    arguments = parser.parse_args()
    ratios = {}
    for name, benchmark in BENCHMARKS.items():
        if arguments.only in (None, name):
            result = benchmark()
            ratios[name] = result["value"]
            print(f"{name}: {result['value']:.3f}")
            for key, value in result["details"].items():
                print(f"  {key}: {value}")
    Path(arguments.json).write_text(json.dumps(ratios, indent=2) + "\n")


if __name__ == "__main__":
    main()
