"""Keras models whose `train_step` holds the paper's training techniques."""

from typing import Any

from igan_tf.lazy import lazy_names

_HOME = {
    "ImageNetGAN": "igan_tf.models.imagenet_gan",
    "SemiSupervisedGAN": "igan_tf.models.semi_supervised_gan",
}

__all__ = [*_HOME]

# All at once: Keras then knows each of them.
_find, __dir__ = lazy_names(__name__, _HOME, together=True)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        import keras

        if (backend := keras.backend.backend()) != "tensorflow":
            raise ImportError(
                f"igan_tf.models.{name} needs Keras on TensorFlow, as igan_tf.layers and igan_tf.losses do not. "
                f"Received: KERAS_BACKEND={backend}"
            )
    return _find(name)
