"""Optimizers of the published code that Keras lacks."""

from igan_tf.optimizers.inside_root_adam import InsideRootAdam

__all__ = ["InsideRootAdam"]
