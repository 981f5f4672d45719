"""The paper's networks. Each module has `build_generator` and `build_discriminator`."""

from igan_tf.networks import digits, mnist

# What `--network` chooses from.
NETWORKS = {"digits": digits, "mnist": mnist}

__all__ = ["NETWORKS", "digits", "mnist"]
