"""Norms in NumPy float64, one group of values after the other."""

from itertools import product

import numpy as np


def normalised(values, epsilon):
    """(values − mean) / √(variance + ε) of all the values given."""
    n = values.size
    mean = sum(values.ravel()) / n
    var = sum((values.ravel() - mean) ** 2) / n
    return (values - mean) / np.sqrt(var + epsilon)


def batch_norm_train(x, scale, bias, epsilon):
    """y, mean and biased variance of each channel."""
    y = np.empty(x.shape)
    for c in range(x.shape[-1]):
        y[..., c] = normalised(x[..., c], epsilon) * scale[c] + bias[c]
    space = tuple(range(x.ndim - 1))
    return y, x.mean(space), ((x - x.mean(space)) ** 2).mean(space)


def batch_norm(x, mean, var, scale, bias, epsilon):
    y = np.empty(x.shape)
    for c in range(x.shape[-1]):
        y[..., c] = (x[..., c] - mean[c]) / np.sqrt(var[c] + epsilon) * scale[c] + bias[c]
    return y


def layer_norm(x, scale, bias, axes, epsilon):
    """``axes`` are counted from the front, in rising order."""
    y = np.empty(x.shape)
    for place in _places(x, axes):
        y[place] = normalised(x[place], epsilon) * scale + bias
    return y


def rms_norm(x, scale, axes, epsilon):
    y = np.empty(x.shape)
    for place in _places(x, axes):
        y[place] = x[place] / np.sqrt((x[place] ** 2).mean() + epsilon) * scale
    return y


def group_norm(x, groups, scale, bias, epsilon):
    y = np.empty(x.shape)
    size = x.shape[-1] // groups
    for n, g in product(range(x.shape[0]), range(groups)):
        channels = slice(g * size, (g + 1) * size)
        y[n, ..., channels] = normalised(x[n, ..., channels], epsilon) * scale[channels] + bias[channels]
    return y


def instance_norm(x, scale, bias, epsilon):
    y = np.empty(x.shape)
    for n, c in product(range(x.shape[0]), range(x.shape[-1])):
        y[n, ..., c] = normalised(x[n, ..., c], epsilon) * scale[c] + bias[c]
    return y


def _places(x, axes):
    """One index for each choice of place on the other axes; it takes all of ``axes``."""
    ranges = [[slice(None)] if axis in axes else range(size) for axis, size in enumerate(x.shape)]
    return product(*ranges)
