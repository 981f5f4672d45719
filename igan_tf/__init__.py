"""Improved Techniques for Training GANs (Salimans et al., 2016) on TensorFlow 2 and Keras 3.

The public names are imported on first use: the layers and losses need no TensorFlow under another Keras backend. Where
Keras is already imported, it learns of this package's classes at once; `load_model` opens saved files in any order.
"""

import importlib
import sys
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "InsideRootAdam": "igan_tf.optimizers",
    "MinibatchDiscrimination": "igan_tf.layers",
    "SemiSupervisedGAN": "igan_tf.models",
    "VirtualBatchNorm": "igan_tf.layers",
    "WeightNorm": "igan_tf.layers",
    "data_dependent_initialization": "igan_tf.layers",
    "labelled_subset": "igan_tf.data",
    "load_model": "igan_tf.saved_models",
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


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _SUBPACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


if sys.modules.get("keras"):
    importlib.import_module("igan_tf.saved_models").register_classes()
