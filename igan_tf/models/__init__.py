"""Keras models whose `train_step` holds the paper's training techniques."""

from igan_tf.models.imagenet_gan import ImageNetGAN
from igan_tf.models.semi_supervised_gan import SemiSupervisedGAN

__all__ = ["ImageNetGAN", "SemiSupervisedGAN"]
