"""The loop around `train_step`: checkpoints, logs, and what makes a run end and continue."""

from igan_tf.training.checkpoints import CheckpointError, Checkpoints
from igan_tf.training.trainer import NonFiniteLossError, Trainer

__all__ = ["CheckpointError", "Checkpoints", "NonFiniteLossError", "Trainer"]
