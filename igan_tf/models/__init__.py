"""Keras models whose `train_step` carries the paper's techniques."""

from igan_tf.models.imagenet_gan import ImageNetGAN
from igan_tf.models.semi_supervised_gan import SemiSupervisedGAN

__all__ = ["ImageNetGAN", "SemiSupervisedGAN"]
