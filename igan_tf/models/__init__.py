"""Keras models whose `train_step` holds the paper's training techniques."""

import importlib

_HOME = {
    "ImageNetGAN": "igan_tf.models.imagenet_gan",
    "SemiSupervisedGAN": "igan_tf.models.semi_supervised_gan",
}

__all__ = [*_HOME]


def __getattr__(name):
    if name in _HOME:
        # All at once: Keras then knows each of them.
        modules = {home: importlib.import_module(home) for home in _HOME.values()}
        return getattr(modules[_HOME[name]], name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
