"""Improved Techniques for Training GANs (Salimans et al., 2016) on TensorFlow 2 and Keras 3.

The public names are imported on first use: the layers and losses need no TensorFlow under another Keras backend.
"""

import importlib

__version__ = "0.1.0"

_HOME = {
    "InsideRootAdam": "igan_tf.optimizers",
    "MinibatchDiscrimination": "igan_tf.layers",
    "SemiSupervisedGAN": "igan_tf.models",
    "VirtualBatchNorm": "igan_tf.layers",
    "WeightNorm": "igan_tf.layers",
    "data_dependent_initialization": "igan_tf.layers",
    "labelled_subset": "igan_tf.data",
    "load_run": "igan_tf.experiments.runs",
}
_SUBPACKAGES = (
    "data",
    "evaluation",
    "experiments",
    "layers",
    "losses",
    "metrics",
    "models",
    "networks",
    "optimizers",
    "records",
    "training",
    "turing_test",
)

__all__ = [*_HOME, *_SUBPACKAGES]


def __getattr__(name):
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _SUBPACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
