"""The samples that a classifier is surest of: the paper's filter before its second test by human eyes."""

import math

import numpy as np

from igan_tf.evaluation.inception_score import sample_divergences


def rank(values, fraction=0.01, from_logits=True):
    """The samples of the highest `KL(p(y|x) || p(y))`, their share in the Inception Score.

    Args:
        values: `(N, K)` logits, or probabilities.
        fraction: The part of the samples to take; rounded up.
        from_logits: Which of the two.

    Returns:
        (positions, divergences): highest first; of equal ones the earlier first.

    Reference:
        [Salimans et al., 2016](https://arxiv.org/abs/1606.03498), section 6.2: the top 1%.
    """
    divergences = sample_divergences(values, from_logits)
    # A product like 0.07 * 100 must not be rounded up past 7.
    count = max(1, math.ceil(round(fraction * len(divergences), 9)))
    positions = np.argsort(-divergences, kind="stable")[:count]
    return positions, divergences[positions]


def take(source, positions):
    """Goes through a source once more and returns the images at `positions`, in their order.

    Args:
        source: An `ImageSource`.
        positions: Where they stand in it.

    Returns:
        float32 `(n, height, width, channels)` in [0, 1].
    """
    by_place = np.sort(positions)
    images = np.concatenate(list(source.batches(64, by_place))).astype("float32")
    low, high = source.image_range or (0.0, 255.0)
    return (images[np.searchsorted(by_place, positions)] - low) / (high - low)
