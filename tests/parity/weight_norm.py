"""Weight normalization and its data-dependent initialization, unit by unit, from arXiv:1602.07868."""

import math

import numpy as np


def effective_kernel(kernel, scale, epsilon, unit_axis=-1):
    """V * g / sqrt(sum V^2 + epsilon), one output unit at a time."""
    units = np.moveaxis(np.asarray(kernel, "float64"), unit_axis, 0)
    result = np.zeros_like(units)
    for unit, values in enumerate(units):
        squared_norm = sum(float(value) ** 2 for value in values.ravel())
        result[unit] = values * float(scale[unit]) / math.sqrt(squared_norm + epsilon)
    return np.moveaxis(result, 0, unit_axis)


def data_dependent(product, scale, bias, init_std):
    """New scale, new bias and the pre-activations, from the product before the bias; units on the last axis."""
    scale, bias = (np.array(values, "float64") for values in (scale, bias))
    pre_activation = np.zeros_like(product)
    for unit in range(product.shape[-1]):
        values = product[..., unit]
        mean = values.sum() / values.size
        deviation = math.sqrt(((values - mean) ** 2).sum() / values.size)
        if deviation > 1e-6 * abs(mean):
            scale[unit] *= init_std / deviation
            bias[unit] = -init_std * mean / deviation
            values = values * init_std / deviation
        pre_activation[..., unit] = values + bias[unit]
    return scale, bias, pre_activation


def valid_convolution(images, kernel):
    """Convolution (N, H, W, C) with (h, w, C, units), stride 1, no padding."""
    height, width = kernel.shape[:2]
    rows, columns = images.shape[1] - height + 1, images.shape[2] - width + 1
    result = np.zeros((len(images), rows, columns, kernel.shape[3]))
    for row in range(rows):
        for column in range(columns):
            patch = images[:, row : row + height, column : column + width]
            result[:, row, column] = np.tensordot(patch, kernel, axes=3)
    return result
