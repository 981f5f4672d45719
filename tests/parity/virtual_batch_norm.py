"""Virtual batch normalisation as the paper's code has it, written out in loops: an oracle in float64."""

import numpy as np


def channel_moments(examples, channel):
    """Mean and mean of squares of one channel over all examples (n, ..., C) and their positions."""
    total, total_of_squares, count = 0.0, 0.0, 0
    for example in examples:
        for position in np.ndindex(example.shape[:-1]):
            value = float(example[(*position, channel)])
            total += value
            total_of_squares += value * value
            count += 1
    return total / count, total_of_squares / count


def normalize(example, channel, mean, mean_of_squares, gamma, beta, epsilon):
    std = np.sqrt(epsilon + mean_of_squares - mean * mean)
    return gamma * (example[..., channel] - mean) / std + beta


def virtual_batch_norm(inputs, reference_size, gamma, beta, epsilon=1e-5):
    """`inputs` (R + N, ..., C), channels last, the first R = `reference_size` rows being the reference."""
    inputs = np.asarray(inputs, dtype="float64")
    reference = inputs[:reference_size]
    new_coefficient = 1.0 / (reference_size + 1.0)
    old_coefficient = reference_size / (reference_size + 1.0)
    outputs = np.empty_like(inputs)
    for channel in range(inputs.shape[-1]):
        reference_mean, reference_square = channel_moments(reference, channel)
        for row, example in enumerate(inputs):
            mean, square = reference_mean, reference_square
            if row >= reference_size:
                example_mean, example_square = channel_moments([example], channel)
                mean = new_coefficient * example_mean + old_coefficient * reference_mean
                square = new_coefficient * example_square + old_coefficient * reference_square
            outputs[row, ..., channel] = normalize(
                example, channel, mean, square, gamma[channel], beta[channel], epsilon
            )
    return outputs
