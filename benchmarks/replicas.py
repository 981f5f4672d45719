"""Images/s of two replicas on two logical processors over those of one replica on one, each in its own process."""

import importlib
import os
import sys

from benchmarks.timing import in_another_process, ratio, take_turns
from igan_tf.commands.start import import_tensorflow


def replicas_ratio(experiment, repetitions):
    """The step of an experiment, its usual batch a replica."""
    with (
        in_another_process("benchmarks.replicas", experiment, "1") as one,
        in_another_process("benchmarks.replicas", experiment, "2") as two,
    ):
        found = ratio(("one replica", one), ("two", two), repetitions, warm_up=3)
    return found | {"value": 2 * found["value"]}


def main():
    """Takes training steps with one replica, on the first processor alone, or mirrored over two."""
    name, count = sys.argv[1], int(sys.argv[2])
    # Before TensorFlow counts the processors.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
    tf = import_tensorflow()
    from igan_tf.training.distribution import build_strategy
    from igan_tf.training.train_function import TrainFunction

    if count > 1:
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0], count * [tf.config.LogicalDeviceConfiguration()]
        )
    experiment = importlib.import_module(f"benchmarks.{name}").EXPERIMENT
    strategy = build_strategy("mirrored" if count > 1 else "single")
    with strategy.scope():
        model = experiment.build_model("float32")
    step = TrainFunction(model, strategy, jit_compile=False)
    batch = experiment.batch()
    if count > 1:
        data = tf.data.Dataset.from_tensors(batch).repeat()
        batch = next(iter(strategy.distribute_datasets_from_function(lambda context: data)))
    take_turns(lambda: step(batch, 0, False).numpy())


if __name__ == "__main__":
    main()
