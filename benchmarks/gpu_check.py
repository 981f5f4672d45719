"""Checks a machine with GPUs for ImageNet's training: `python -m benchmarks.gpu_check --json=FILE`.

Prints a table, a line for each check with its verdict, and writes all figures as JSON. "ok" and "look" are verdicts on
what can be judged; other figures are for comparison with other machines. `docs/gpus.md` explains each line. Without a
GPU it runs on logical CPUs, with `--small` in a minute or two: that shows that it works, and nothing of a GPU.
"""

import argparse
import dataclasses
import json
import time
import traceback
from pathlib import Path

from igan_tf.commands.start import import_tensorflow


def check(machine, most_seconds=280.0, report=print):
    """Runs all checks and returns their lines; a check that fails becomes a line that says so."""
    from benchmarks import gpu_checks
    from benchmarks.gpu_machine import Line

    lines, start = [], time.monotonic()
    for one in gpu_checks.CHECKS:
        if time.monotonic() - start > most_seconds:
            found = [
                Line(one.__name__, {}, "look", f"not measured: {most_seconds:g} s are over; --seconds allows more")
            ]
        else:
            try:
                found = list(one(machine))
            except Exception as error:
                text = traceback.format_exception_only(error)[-1].strip()[:300]
                found = [Line(one.__name__, {}, "look", f"failed: {text}")]
        for line in found:
            report(line)
        lines += found
    return lines


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", required=True, help="file that gets all figures")
    parser.add_argument("--small", action="store_true", help="thin networks, few steps: for a machine without a GPU")
    parser.add_argument("--expected_replicas", type=int, default=0, help="how many devices there should be")
    parser.add_argument("--cpus", type=int, default=2, help="logical CPUs, where there is no GPU")
    parser.add_argument("--seconds", type=float, default=280.0, help="after these no further check begins")
    options = parser.parse_args(arguments)

    tf = import_tensorflow()
    from benchmarks.gpu_machine import SMALL, Machine, Sizes

    cpu = tf.config.list_physical_devices("CPU")[0]
    if not (tf.config.list_physical_devices("GPU") or tf.config.get_logical_device_configuration(cpu)):
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * options.cpus)
    machine = Machine(SMALL if options.small else Sizes(), options.expected_replicas)
    lines = check(machine, options.seconds)
    content = {"sizes": dataclasses.asdict(machine.sizes), "lines": [dataclasses.asdict(line) for line in lines]}
    Path(options.json).write_text(json.dumps(content, indent=2) + "\n")
    looks = sum(line.verdict == "look" for line in lines)
    print(f"{len(lines)} lines, {looks} to look at; written to {options.json}")


if __name__ == "__main__":
    main()
