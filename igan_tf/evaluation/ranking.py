"""The samples that a classifier is surest of: the paper's filter before its second test by people."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

from igan_tf.evaluation.images import ImageSource
from igan_tf.metrics.inception_score import sample_divergences


def rank(values: np.ndarray, fraction: float = 0.01, from_logits: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Ranks the samples of the highest `KL(p(y|x) || p(y))`, their share in the Inception Score.

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


def take(source: ImageSource, positions: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Reads a source once more for the images at `positions`, one at a time: together they may not fit into memory.

    Args:
        source: An `ImageSource`.
        positions: Where they stand in it, each once.

    Yields:
        (index into `positions`, float32 `(height, width, channels)` in [0, 1]), in the order of the source.
    """
    by_place = np.argsort(positions)
    low, high = source.image_range or (0.0, 255.0)
    # One at a time: images of several sizes in a batch would all get the classifier's.
    images = itertools.chain.from_iterable(source.batches(1, positions[by_place]))
    for index, image in zip(by_place, images):
        yield int(index), (image.astype("float32") - low) / (high - low)
