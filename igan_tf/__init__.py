"""Improved Techniques for Training GANs (Salimans et al., 2016) on TensorFlow 2 and Keras 3.

The public names are imported on first use: the layers and losses need no TensorFlow under another Keras backend. Where
Keras is already imported, it learns of this package's classes at once; `load_model` opens saved files in any order.
"""

import importlib
import sys

from igan_tf.lazy import lazy_names

__version__ = "0.2.0"

_HOME = {
    "InsideRootAdam": "igan_tf.optimizers",
    "MinibatchDiscrimination": "igan_tf.layers",
    "SemiSupervisedGAN": "igan_tf.models",
    "VirtualBatchNorm": "igan_tf.layers",
    "WeightNorm": "igan_tf.layers",
    "data_dependent_initialization": "igan_tf.layers",
    "labelled_subset": "igan_tf.data",
    "load_pretrained": "igan_tf.experiments.runs",
    "load_model": "igan_tf.saved_models",
    "load_run": "igan_tf.experiments.runs",
    "train": "igan_tf.experiments.training_runs",
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
    "pretrained",
    "records",
    "training",
    "turing_test",
)
_HOME |= {name: f"{__name__}.{name}" for name in _SUBPACKAGES}

__all__ = [*_HOME]

__getattr__, __dir__ = lazy_names(__name__, _HOME)


if sys.modules.get("keras"):
    importlib.import_module("igan_tf.saved_models").register_classes()
