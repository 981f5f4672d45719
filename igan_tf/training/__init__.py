"""The loop around `train_step`: checkpoints, logs, and what makes a run end and continue."""

from igan_tf.lazy import lazy_names

_HOME = {
    "CheckpointError": "igan_tf.training.checkpoints",
    "Checkpoints": "igan_tf.training.checkpoints",
    "NonFiniteLossError": "igan_tf.training.trainer",
    "Trainer": "igan_tf.training.trainer",
}

__all__ = [*_HOME]

__getattr__, __dir__ = lazy_names(__name__, _HOME)
