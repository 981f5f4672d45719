"""Keras models whose `train_step` holds the paper's training techniques."""

from igan_tf.lazy import lazy_names

_HOME = {
    "ImageNetGAN": "igan_tf.models.imagenet_gan",
    "SemiSupervisedGAN": "igan_tf.models.semi_supervised_gan",
}

__all__ = [*_HOME]

# All at once: Keras then knows each of them.
__getattr__, __dir__ = lazy_names(__name__, _HOME, together=True)
