"""The paper's networks: `NETWORKS` for the semi-supervised GAN, `imagenet` for ImageNet's.

The modules that build them import Keras; they are loaded on first use.
"""

import importlib

from igan_tf.networks.registry import NETWORKS, Network

_MODULES = ("cifar10", "digits", "imagenet", "mnist", "svhn")

__all__ = ["NETWORKS", "Network", *_MODULES]


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
