"""Speed and memory, measured: `python -m benchmarks --json=FILE [--only NAME ...]`, on a quiet machine."""

import os

from igan_tf.commands.start import use_onednn

# As in the commands, before a module of this package imports TensorFlow.
use_onednn()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
