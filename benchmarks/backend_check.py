"""Checks JAX or PyTorch on an accelerator: `KERAS_BACKEND=jax python -m benchmarks.backend_check`; under five minutes.

Prints on which device the backend computes, times both forms of what has one for CPUs and one for GPUs, and runs the
tests of layers, losses and optimizers. Without an accelerator it does the same on the CPU, and says so.
"""

import argparse
import subprocess
import sys

import keras
from keras import ops

from benchmarks.forms import noises, pairs
from benchmarks.timing import median_seconds
from igan_tf.devices import has_gpu

TESTS = ("tests/layers", "tests/losses", "tests/optimizers")


def compiled(function):
    """The function as the backend would have it in a training step."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.jit(function)
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False)
    return function


def milliseconds(function, *arguments):
    """Median milliseconds of a compiled call, its result on the host included: one number."""
    call = compiled(lambda *arguments: ops.sum(function(*arguments)))
    return 1e3 * median_seconds(lambda: ops.convert_to_numpy(call(*arguments)))


def forms(shapes=((32, 300, 50), (128, 300, 50)), images=(32, 128, 128, 3)):
    """Milliseconds by form of distances and their gradient, and of noise."""
    found = {}
    for shape in shapes:
        functions, arguments = pairs(shape)
        for name, both in functions.items():
            found[f"pairwise_distances {shape}, {name}"] = milliseconds(both, *arguments)
    for name, layer in noises().items():
        # Its seeds, which a step of JAX hands on, stay as they are here.
        with keras.StatelessScope([(layer.seed_generator.state, layer.seed_generator.state.value)]):
            found[f"noise, {name}"] = milliseconds(lambda x, layer=layer: layer(x, training=True), ops.zeros(images))
    return found


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backend_check", description=__doc__.partition("\n")[0])
    parser.add_argument("--no_tests", action="store_true", help="the times alone")
    options = parser.parse_args(arguments)
    print(f"{keras.backend.backend()} on {'an accelerator' if has_gpu() else 'the CPU: nothing is said of a GPU'}")
    for name, taken in forms().items():
        print(f"{name:50s} {taken:8.2f} ms")
    if not options.no_tests:
        # Twenty seconds are left of the five minutes.
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow", *TESTS]
        try:
            sys.exit(subprocess.run(command, timeout=280).returncode)
        except subprocess.TimeoutExpired:
            sys.exit("the tests did not end in time")


if __name__ == "__main__":
    main()
