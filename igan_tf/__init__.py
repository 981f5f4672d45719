"""Improved Techniques for Training GANs (Salimans et al., 2016) on TensorFlow 2 and Keras 3."""

__version__ = "0.1.0"
