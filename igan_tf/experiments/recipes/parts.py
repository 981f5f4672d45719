"""What recipes have in common."""

import contextlib

import keras

from igan_tf.experiments.config import ConfigError
from igan_tf.optimizers import AnnealedRate, FusedAdam, InsideRootAdam


@contextlib.contextmanager
def precision(name):
    """Layers and models made in this scope have the dtype policy `name`."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def optimizer(config, learning_rate, steps_per_epoch):
    """The optimizer of `--adam`, its rate annealed as `--anneal_epochs` says."""
    if config.anneal_epochs:
        learning_rate = AnnealedRate(learning_rate, config.anneal_epochs, steps_per_epoch)
    kind = InsideRootAdam if config.adam == "inside_root" else FusedAdam
    return kind(learning_rate, beta_1=config.beta_1, epsilon=1e-8)


def check_batch_size(config, num_images, replicas):
    """Raises a ConfigError where the replicas' batches need more images than there are."""
    if config.batch_size * replicas > num_images:
        on = f" on each of {replicas} replicas" if replicas > 1 else ""
        raise ConfigError(
            f"--batch_size{on} must be at most the number of training images, {num_images}. "
            f"Received: --batch_size={config.batch_size}"
        )
