"""The paper's networks: `NETWORKS` for the semi-supervised GAN, `imagenet` for ImageNet's.

The modules that build them import Keras; they are loaded on first use.
"""

from igan_tf.lazy import lazy_names
from igan_tf.networks.registry import NETWORKS, Network, register

_HOME = {
    name: f"{__name__}.{name}"
    for name in ("cifar10", "digits", "imagenet", "mnist", "mnist_convolutional", "strided", "svhn")
}

__all__ = ["NETWORKS", "Network", "register", *_HOME]

__getattr__, __dir__ = lazy_names(__name__, _HOME)
