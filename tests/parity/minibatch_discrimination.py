"""Minibatch discrimination, loop by loop, from arXiv:1606.03498 section 3.2 and the published code's settings."""

import math

import numpy as np


def project(inputs, theta, log_weight_scale=None):
    """M (N, B, C) of inputs (N, A); with `log_weight_scale` theta is normalised over its input axis."""
    num_inputs, num_kernels, kernel_dim = theta.shape
    projections = np.zeros((len(inputs), num_kernels, kernel_dim))
    for b in range(num_kernels):
        for c in range(kernel_dim):
            column = [float(theta[a, b, c]) for a in range(num_inputs)]
            if log_weight_scale is not None:
                norm = math.sqrt(sum(value**2 for value in column))
                column = [value * math.exp(log_weight_scale[b, c]) / norm for value in column]
            for i, row in enumerate(inputs):
                projections[i, b, c] = sum(float(row[a]) * column[a] for a in range(num_inputs))
    return projections


def distance(projections, i, j, b):
    return sum(abs(projections[i, b, c] - projections[j, b, c]) for c in range(projections.shape[2]))


def closeness_features(projections, num_groups=1, reduction="sum", divide_by=None):
    """Features (N, num_groups, B) without bias; `divide_by (B,)` divides the distances."""
    num_rows, num_kernels, _ = projections.shape
    group_size = num_rows // num_groups
    features = np.zeros((num_rows, num_groups, num_kernels))
    for b in range(num_kernels):
        for group in range(num_groups):
            members = range(group * group_size, (group + 1) * group_size)
            pairs_in_group = sum(1 for i in range(num_rows) for j in members if i != j)
            for i in range(num_rows):
                terms = []
                for j in members:
                    if j != i:
                        scale = 1.0 if divide_by is None else divide_by[b]
                        terms.append(math.exp(-distance(projections, i, j, b) / scale))
                divisor = {"sum": 1, "mean": len(terms), "mean_all_pairs": pairs_in_group}[reduction]
                features[i, group, b] = sum(terms) / divisor if terms else 0.0
    return features


def minibatch_discrimination(inputs, theta, log_weight_scale=None, bias=None, num_groups=1, reduction="sum"):
    """The layer's outputs (N, A + B * num_groups)."""
    features = closeness_features(project(inputs, theta, log_weight_scale), num_groups, reduction)
    rows = []
    for i, row in enumerate(inputs):
        appended = []
        for group in range(num_groups):
            for b in range(theta.shape[1]):
                appended.append(features[i, group, b] + (0.0 if bias is None else float(bias[b])))
        rows.append([*row, *appended])
    return np.array(rows, dtype="float64")


def data_dependent_scale(projections):
    """Per kernel, half the batch's mean distance to the nearest other row."""
    num_rows, num_kernels, _ = projections.shape
    scale = np.zeros(num_kernels)
    for b in range(num_kernels):
        nearest = [min(distance(projections, i, j, b) for j in range(num_rows) if j != i) for i in range(num_rows)]
        scale[b] = sum(nearest) / num_rows / 2
    return scale


def finite_differences(function, array, step=1e-6):
    """Central differences of a scalar function of one float64 array. At a kink of |.| they give its sign(0) = 0."""
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        above, below = array.copy(), array.copy()
        above[index] += step
        below[index] -= step
        gradient[index] = (function(above) - function(below)) / (2 * step)
    return gradient
