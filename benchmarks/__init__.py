"""Measured ratios: `python -m benchmarks --json=FILE [--only=NAME]`, on a machine with nothing else to do."""

from igan_tf.commands.start import use_onednn

# As in the commands, before a module of this package imports TensorFlow.
use_onednn()
