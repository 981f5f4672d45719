"""A classifier and images whose scores can be computed beside: no network, nothing to train."""

import numpy as np

from igan_tf.evaluation import as_classifier


def mean_classifier(name="stand-in", channels=3, digest="0" * 64):
    """Features are the mean colour of each quarter; logits a fixed linear map of them."""
    kernel = np.random.default_rng(5).normal(scale=8, size=(4 * channels, 5))

    def function(images):
        pixels = np.asarray(images)
        height, width = pixels.shape[1] // 2, pixels.shape[2] // 2
        quarters = [pixels[:, y : y + height, x : x + width] for y in (0, height) for x in (0, width)]
        features = np.concatenate([quarter.mean(axis=(1, 2)) for quarter in quarters], axis=1)
        return features @ kernel, features

    return as_classifier(function, name, (0.0, 1.0), channels=channels, digest=digest)


def images(count=200, size=6, channels=3, seed=0, brightness=256):
    return np.random.default_rng(seed).integers(0, brightness, (count, size, size, channels), dtype="uint8")
