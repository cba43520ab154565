"""Activations and their derivatives in NumPy float64, one number at a time."""

from math import atan, erf, exp, expm1, log1p, pi, sqrt, tanh

import numpy as np


def sigmoid(x):
    return 1 / (1 + exp(-x)) if x >= 0 else exp(x) / (1 + exp(x))


def softplus(x):
    return max(x, 0.0) + log1p(exp(-abs(x)))


def normal_density(x):
    return exp(-x * x / 2) / sqrt(2 * pi)


def normal_distribution(x):
    return (1 + erf(x / sqrt(2))) / 2


def gelu_inner(x):
    return sqrt(2 / pi) * (x + 0.044715 * x**3)


def gelu_slope(x):
    bend = 1 - tanh(gelu_inner(x)) ** 2
    return (1 + tanh(gelu_inner(x))) / 2 + x / 2 * bend * sqrt(2 / pi) * (1 + 3 * 0.044715 * x**2)


def mish_slope(x):
    t = tanh(softplus(x))
    return t + x * (1 - t * t) * sigmoid(x)


ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805

#: name: (value, derivative), each of one number. At kinks the derivative is the one that the op promises.
SCALAR = {
    "relu": (lambda x: max(x, 0.0), lambda x: float(x > 0)),
    "relu6": (lambda x: min(max(x, 0.0), 6.0), lambda x: float(0 < x < 6)),
    "leaky_relu": (lambda x: x if x >= 0 else 0.01 * x, lambda x: 1.0 if x >= 0 else 0.01),
    "elu": (lambda x: x if x > 0 else expm1(x), lambda x: 1.0 if x > 0 else exp(x)),
    "selu": (
        lambda x: SCALE * (x if x > 0 else ALPHA * expm1(x)),
        lambda x: SCALE * (1.0 if x > 0 else ALPHA * exp(x)),
    ),
    "celu": (lambda x: x if x > 0 else expm1(x), lambda x: 1.0 if x > 0 else exp(x)),
    "gelu": (lambda x: x / 2 * (1 + tanh(gelu_inner(x))), gelu_slope),
    "gelu_exact": (
        lambda x: x * normal_distribution(x),
        lambda x: normal_distribution(x) + x * normal_density(x),
    ),
    "silu": (lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x)))),
    "sigmoid": (sigmoid, lambda x: sigmoid(x) * sigmoid(-x)),
    "tanh": (tanh, lambda x: 1 - tanh(x) ** 2),
    "softplus": (softplus, sigmoid),
    "soft_sign": (lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2),
    "hard_tanh": (lambda x: min(max(x, -1.0), 1.0), lambda x: float(-1 <= x <= 1)),
    "hard_sigmoid": (lambda x: min(max(x + 3, 0.0), 6.0) / 6, lambda x: float(-3 < x < 3) / 6),
    "hard_silu": (
        lambda x: x * min(max(x + 3, 0.0), 6.0) / 6,
        lambda x: 1.0 if x >= 3 else 0.0 if x <= -3 else (2 * x + 3) / 6,
    ),
    "mish": (lambda x: x * tanh(softplus(x)), mish_slope),
    "log_sigmoid": (lambda x: -softplus(-x), lambda x: sigmoid(-x)),
    "linear": (lambda x: x, lambda x: 1.0),
    "step": (lambda x: float(x > 0), lambda x: 0.0),
    "arctan": (atan, lambda x: 1 / (1 + x * x)),
    "hard_shrink": (lambda x: x if abs(x) > 0.5 else 0.0, lambda x: float(abs(x) > 0.5)),
    "soft_shrink": (
        lambda x: max(abs(x) - 0.5, 0.0) * (1 if x > 0 else -1),
        lambda x: float(abs(x) > 0.5),
    ),
    "tanh_shrink": (lambda x: x - tanh(x), lambda x: tanh(x) ** 2),
    "threshold": (lambda x: x if x > 0.5 else -2.0, lambda x: float(x > 0.5)),
}


def each(function, x):
    return np.array([function(float(value)) for value in x.ravel()]).reshape(x.shape)


def softmax(row, allowed=None):
    """Of one row; ``allowed`` are the places that count. A row with none gives zeros."""
    allowed = np.ones(row.shape, bool) if allowed is None else allowed
    y = np.zeros(row.shape)
    if allowed.any():
        grown = np.exp(row[allowed] - row[allowed].max())
        y[allowed] = grown / grown.sum()
    return y


def sparsemax(row):
    """Of one row, by bisection for the τ at which Σ max(x − τ, 0) is 1."""
    low, high = row.max() - 1, row.max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(row - middle, 0).sum() > 1 else (low, middle)
    return np.maximum(row - low, 0)


def sparsemax_jacobian(row):
    inside = (sparsemax(row) > 1e-12).astype(float)
    return np.diag(inside) - np.outer(inside, inside) / inside.sum()


def maxout(x, pieces):
    y = np.empty((*x.shape[:-1], x.shape[-1] // pieces))
    for c in range(y.shape[-1]):
        y[..., c] = x[..., c * pieces : (c + 1) * pieces].max(-1)
    return y


def prelu(x, slope):
    y = np.array(x, np.float64)
    for c in range(x.shape[-1]):
        channel = y[..., c]
        channel[channel < 0] *= slope[c]
    return y
