"""Images/s of two replicas on two logical processors over those of one replica on one, each in its own process."""

import os
import sys

from benchmarks.timing import alternate, in_another_process, take_turns


def mnist_replicas_ratio():
    """MNIST's step, batch 100 a replica."""
    return _ratio("mnist", repetitions=40)


def imagenet_replicas_ratio():
    """ImageNet's step at full width, batch 16 a replica."""
    return _ratio("imagenet", repetitions=3)


def _ratio(experiment, repetitions):
    with (
        in_another_process("benchmarks.replicas", experiment, "1") as one,
        in_another_process("benchmarks.replicas", experiment, "2") as two,
    ):
        one_seconds, two_seconds = alternate(one, two, repetitions)
    details = {"one replica": f"{1e3 * one_seconds:.1f} ms", "two": f"{1e3 * two_seconds:.1f} ms"}
    return {"value": 2 * one_seconds / two_seconds, "details": details}


def main():
    """Takes training steps with one replica, on the first processor alone, or mirrored over two."""
    experiment, count = sys.argv[1], int(sys.argv[2])
    # Before TensorFlow counts the processors.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
    import tensorflow as tf

    from benchmarks import imagenet, mnist
    from igan_tf.memory import keep_freed_memory
    from igan_tf.training.distribution import build_strategy
    from igan_tf.training.train_function import TrainFunction

    keep_freed_memory()
    if count > 1:
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0], count * [tf.config.LogicalDeviceConfiguration()]
        )
    module = {"mnist": mnist, "imagenet": imagenet}[experiment]
    strategy = build_strategy("mirrored" if count > 1 else "single")
    with strategy.scope():
        model = module.build_model()
    step = TrainFunction(model, strategy, jit_compile=False)
    batch = module.training_batch()
    if count > 1:
        data = tf.data.Dataset.from_tensors(batch).repeat()
        batch = next(iter(strategy.distribute_datasets_from_function(lambda context: data)))
    take_turns(lambda: step(batch, 0, False).numpy())


if __name__ == "__main__":
    main()
