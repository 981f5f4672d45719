"""The optimizers of the paper's experiments that Keras lacks."""

from igan_tf.optimizers.annealed_rate import AnnealedRate
from igan_tf.optimizers.fused_adam import FusedAdam
from igan_tf.optimizers.inside_root_adam import InsideRootAdam
from igan_tf.optimizers.replica_loss_scale import ReplicaLossScaleOptimizer

__all__ = ["AnnealedRate", "FusedAdam", "InsideRootAdam", "ReplicaLossScaleOptimizer"]
