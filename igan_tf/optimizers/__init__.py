"""Optimizers of the published code that Keras lacks."""

from igan_tf.optimizers.annealed_rate import AnnealedRate
from igan_tf.optimizers.inside_root_adam import InsideRootAdam

__all__ = ["AnnealedRate", "InsideRootAdam"]
