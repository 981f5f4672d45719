"""The first training step of a process, from networks that are not built yet, its imports left out."""

import importlib
import json
import sys
import time

from benchmarks.timing import output_of
from igan_tf.commands.start import import_tensorflow


def first_step_seconds(experiment):
    """Seconds that the first step takes, networks built and traced, above the second, in a fresh process."""
    found = output_of("benchmarks.start", experiment)
    return {"value": found["first step"] - found["second"], "details": found}


def main():
    """Prints the seconds up to the end of the first step, and those of the second."""
    # As the commands do.
    tf = import_tensorflow()
    experiment = importlib.import_module(f"benchmarks.{sys.argv[1]}").EXPERIMENT
    # What a training process has imported by then, too.
    importlib.import_module("igan_tf.experiments.recipes")
    from igan_tf.training.train_function import TrainFunction

    batch = experiment.batch()
    times = [time.perf_counter()]
    step = TrainFunction(experiment.build_model("float32"), tf.distribute.get_strategy(), jit_compile=False)
    for number in range(2):
        step(batch, number, False).numpy()
        times.append(time.perf_counter())
    print(json.dumps({"first step": times[1] - times[0], "second": times[2] - times[1]}))


if __name__ == "__main__":
    main()
