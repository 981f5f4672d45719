"""TensorFlow-GAN 2.1, which does not import by itself on TensorFlow 2.16 and later.

Its estimators need `tf.estimator`, which is gone; its scores, losses and features do not. Here it is imported with a
stand-in for both, taken away again afterwards:

```
from igan_tf.evaluation import tfgan
tfgan.eval.frechet_classifier_distance_from_activations(real, fake)
```
"""

import sys
import types
import warnings

import tensorflow as tf

_ESTIMATOR = "tensorflow_gan.python.estimator"


def load_tfgan() -> types.ModuleType:
    """Imports the package `tensorflow_gan`, without its estimators, and returns it.

    `tf.estimator` and `sys.modules` are as before afterwards, but for TF-GAN itself and what it imports.

    Raises:
        ImportError: TF-GAN, or something else that it needs, is not installed.
    """
    if "tensorflow_gan" in sys.modules:
        return sys.modules["tensorflow_gan"]
    stand_in = not hasattr(tf, "estimator")
    if stand_in:
        # TF-GAN's train.py derives a class from this one; its estimators are replaced by an empty module.
        tf.estimator = types.SimpleNamespace(SessionRunHook=tf.compat.v1.train.SessionRunHook)
        sys.modules[_ESTIMATOR] = types.ModuleType(_ESTIMATOR)
    try:
        with warnings.catch_warnings():
            # distutils in TF-GAN and TensorFlow Probability, pkg_resources in TensorFlow Hub.
            warnings.simplefilter("ignore")
            import tensorflow_gan
    finally:
        if stand_in:
            del tf.estimator
            del sys.modules[_ESTIMATOR]
    if stand_in:
        # Remove the empty stand-in module.
        vars(tensorflow_gan).pop("estimator", None)
    return tensorflow_gan


_tfgan = load_tfgan()
eval = _tfgan.eval
features = _tfgan.features
losses = _tfgan.losses
VBN = _tfgan.features.VBN
# Not public; nearly all of the time of TF-GAN's Fréchet distance.
trace_sqrt_product = _tfgan.eval.classifier_metrics.trace_sqrt_product
