"""The ImageNet discriminator's "cross" batch normalization, written out in loops: an oracle in float64."""

import math

import numpy as np


def cross_statistics(inputs):
    """Mean and variance of each channel of a joint batch `(N, ..., C)` [real; generated], both `(C,)`."""
    rows, channels = len(inputs) // 2, inputs.shape[-1]
    means, variances = [], []
    for channel in range(channels):
        # The first half of the channels looks at the real rows, the second half at the generated ones.
        measure = range(rows) if channel < channels // 2 else range(rows, 2 * rows)
        values = [float(value) for row in measure for value in inputs[row, ..., channel].ravel()]
        mean = sum(values) / len(values)
        means.append(mean)
        variances.append(sum((value - mean) ** 2 for value in values) / len(values))
    return np.array(means), np.array(variances)


def cross_batch_norm(inputs, gamma, beta, epsilon=1e-5):
    """`inputs` (N, ..., C), the first N / 2 rows real, the others generated."""
    means, variances = cross_statistics(inputs)
    return normalize(inputs, means, variances, gamma, beta, epsilon)


def normalize(inputs, means, variances, gamma, beta, epsilon=1e-5):
    """Every channel by its own mean and variance."""
    outputs = np.empty(inputs.shape)
    for place in np.ndindex(inputs.shape):
        channel = place[-1]
        outputs[place] = (inputs[place] - means[channel]) / math.sqrt(variances[channel] + epsilon)
        outputs[place] = outputs[place] * gamma[channel] + beta[channel]
    return outputs
