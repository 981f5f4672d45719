"""Checks a machine with GPUs for ImageNet's training: `python -m benchmarks.gpu_check --json=FILE`.

Prints a table, a line for each check with its verdict, and writes all figures as JSON. "ok" and "look" are verdicts on
what can be judged; other figures are for comparison with other machines. `docs/gpus.md` explains each line. Without a
GPU it runs on logical CPUs, with `--small` in a minute or two: that shows that it works, and nothing of a GPU.
"""

import argparse
import dataclasses
import json
import os
import time
import traceback
from pathlib import Path

os.environ.setdefault("TF_GPU_THREAD_MODE", "gpu_private")


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is computed; the defaults are those of the paper's ImageNet experiment."""

    side: int = 128
    gf_dim: int = 64
    df_dim: int = 64
    latent_size: int = 8192
    batches: tuple = (16, 4)
    steps: int = 20
    compiled_batches: tuple = (16,)
    precisions: tuple = ("float32", "mixed_bfloat16")
    # Numbers in the gradients of D and of G.
    gradients: tuple = (67_500_000, 72_250_000)
    pairs: tuple = ((32, 300, 50), (128, 300, 50))
    product: int = 4096
    images: int = 2048


SMALL = Sizes(
    side=32,
    gf_dim=8,
    df_dim=2,
    latent_size=8,
    batches=(2,),
    steps=2,
    compiled_batches=(),
    precisions=("float32",),
    gradients=(3000, 5000),
    pairs=((4, 3, 2),),
    product=64,
    images=8,
)


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        name: Of what was measured.
        figures: JSON-serialisable values by name.
        verdict: "ok", "look", or empty where there is nothing to judge.
        note: What to do about it.
    """

    name: str
    figures: dict
    verdict: str = ""
    note: str = ""

    def __str__(self):
        shown = "  ".join(f"{name} {_short(value)}" for name, value in self.figures.items())
        return f"{self.verdict or '-':5s} {self.name:42s} {shown}" + (f"\n      {self.note}" if self.note else "")


def _short(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class Machine:
    """What all checks share: devices, sizes, and what one has found for another.

    Args:
        sizes: The `Sizes`.
        expected_replicas: How many devices there should be; 0: any number.
    """

    def __init__(self, sizes, expected_replicas=0):
        import tensorflow as tf

        self.sizes = sizes
        self.expected_replicas = expected_replicas
        self.gpus = tf.config.list_logical_devices("GPU")
        self.devices = self.gpus or tf.config.list_logical_devices("CPU")
        # Seconds of a full step of one replica, float32, at the first batch size.
        self.step_seconds = None


def check(machine, most_seconds=280.0, report=print):
    """Runs all checks and returns their lines; a check that fails becomes a line that says so."""
    from benchmarks import gpu_checks

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

    import tensorflow as tf

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
