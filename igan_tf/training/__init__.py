"""The loop around `train_step`: checkpoints, logs, and what makes a run end and continue."""

import importlib

_HOME = {
    "CheckpointError": "igan_tf.training.checkpoints",
    "Checkpoints": "igan_tf.training.checkpoints",
    "NonFiniteLossError": "igan_tf.training.trainer",
    "Trainer": "igan_tf.training.trainer",
}

__all__ = [*_HOME]


def __getattr__(name):
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
