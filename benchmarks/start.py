"""The first training step of a process, from networks that are not built yet, its imports left out."""

import importlib
import sys

from benchmarks.timing import output_of


def mnist_first_step_seconds():
    """Seconds that MNIST's first step takes, networks built and traced, above the second, in a fresh process."""
    return _first_step("mnist")


def imagenet_first_step_seconds():
    """The same of ImageNet's, at full width."""
    return _first_step("imagenet")


def _first_step(experiment):
    first, second = map(float, output_of("benchmarks.start", experiment).split())
    return {"value": first - second, "details": {"with the first step": f"{first:.2f} s", "a step": f"{second:.3f} s"}}


def main():
    """Prints the seconds up to the end of the first step, and those of the second."""
    import time

    from igan_tf.commands.start import import_tensorflow

    # As the commands do.
    tf = import_tensorflow()
    from benchmarks import imagenet, mnist
    from igan_tf.training.train_function import TrainFunction

    # What a training process has imported by then.
    for part in ("experiments.recipes", "layers", "models", "networks.mnist", "networks.imagenet", "optimizers"):
        importlib.import_module(f"igan_tf.{part}")
    module = {"mnist": mnist, "imagenet": imagenet}[sys.argv[1]]
    batch = module.training_batch()
    times = [time.perf_counter()]
    step = TrainFunction(module.build_model(), tf.distribute.get_strategy(), jit_compile=False)
    for number in range(2):
        step(batch, number, False).numpy()
        times.append(time.perf_counter())
    print(times[1] - times[0], times[2] - times[1])


if __name__ == "__main__":
    main()
