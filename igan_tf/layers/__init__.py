"""The paper's layers, on `keras.ops` alone: they run on every Keras backend."""

from igan_tf.layers.batch_statistics_norm import BatchStatisticsNorm
from igan_tf.layers.blocked_conv2d_transpose import BlockedConv2DTranspose
from igan_tf.layers.concatenate_noise import ConcatenateNoise
from igan_tf.layers.cross_batch_norm import CrossBatchNorm
from igan_tf.layers.data_dependent import data_dependent_initialization, initializes_now
from igan_tf.layers.differentiable_augmentation import DifferentiableAugmentation
from igan_tf.layers.drop_reference import DropReference
from igan_tf.layers.freeze_reference import freeze_reference, unfreeze_reference
from igan_tf.layers.minibatch_discrimination import MinibatchDiscrimination
from igan_tf.layers.prepend_reference import PrependReference
from igan_tf.layers.separate_batch_norm import SeparateBatchNorm
from igan_tf.layers.table_gaussian_noise import GaussianNoise, TableGaussianNoise
from igan_tf.layers.virtual_batch_norm import VirtualBatchNorm
from igan_tf.layers.weight_norm import WeightNorm

__all__ = [
    "BatchStatisticsNorm",
    "BlockedConv2DTranspose",
    "ConcatenateNoise",
    "CrossBatchNorm",
    "DifferentiableAugmentation",
    "DropReference",
    "GaussianNoise",
    "MinibatchDiscrimination",
    "PrependReference",
    "SeparateBatchNorm",
    "TableGaussianNoise",
    "VirtualBatchNorm",
    "WeightNorm",
    "data_dependent_initialization",
    "freeze_reference",
    "initializes_now",
    "unfreeze_reference",
]
