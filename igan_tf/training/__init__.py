"""The loop around `train_step`: checkpoints, logs, and what makes a run end and continue.

The public names are imported on first use: `igan_tf.training.durable` needs no TensorFlow.
"""

import importlib

_HOME = {
    "CheckpointError": "checkpoints",
    "Checkpoints": "checkpoints",
    "NonFiniteLossError": "trainer",
    "Trainer": "trainer",
}

__all__ = list(_HOME)


def __getattr__(name):
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
