"""Resizing and pixel shuffling, slow and obvious, in float64."""

from fractions import Fraction
from math import floor

import numpy as np


def triangle(d):
    return max(0.0, 1.0 - abs(d))


def cubic(d, a):
    d = abs(d)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    if d < 2:
        return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return 0.0


def position(i, size, out, align_corners):
    if not align_corners:
        return Fraction(2 * i + 1, 2) * Fraction(size, out) - Fraction(1, 2)
    return Fraction(i * (size - 1), out - 1) if out > 1 else Fraction(0)


def matrix(size, out, method, align_corners=False, antialias=False, a=-0.75):
    """(out, size): what each output value is made of."""
    result = np.zeros((out, size))
    for i in range(out):
        if method == "nearest":
            result[i, floor(Fraction(2 * i + 1, 2) * Fraction(size, out))] = 1
            continue
        s = position(i, size, out, align_corners)
        stretch = size / out if antialias and size > out else 1.0
        far = 2 * int(np.ceil(stretch)) + 2
        for j in range(floor(s) - far, floor(s) + far):
            d = float(s - j) / stretch
            weight = triangle(d) if method == "linear" else cubic(d, a)
            if stretch == 1.0:
                result[i, min(max(j, 0), size - 1)] += weight
            elif 0 <= j < size:
                result[i, j] += weight
        result[i] /= result[i].sum()
    return result


def along(x, axis, m):
    return np.moveaxis(np.tensordot(m, x, (1, axis)), 0, axis)


def resize(x, sizes, method, **settings):
    y = np.asarray(x, np.float64)
    for axis, out in enumerate(sizes, start=1):
        y = along(y, axis, matrix(x.shape[axis], out, method, **settings))
    return y


def resize_gradient(cotangent, space, method, **settings):
    """The gradient of Σ cotangent · resize(x) for an x of spatial sizes ``space``."""
    g = np.asarray(cotangent, np.float64)
    for axis, size in enumerate(space, start=1):
        g = along(g, axis, matrix(size, cotangent.shape[axis], method, **settings).T)
    return g


def pixel_shuffle(x, factors):
    n, *space, channels = x.shape
    c_out = channels // int(np.prod(factors))
    y = np.zeros((n, *(s * r for s, r in zip(space, factors, strict=True)), c_out), x.dtype)
    for place in np.ndindex(*y.shape[1:]):
        *pixel, c = place
        coarse = [p // r for p, r in zip(pixel, factors, strict=True)]
        channel = c
        for p, r in zip(pixel, factors, strict=True):
            channel = channel * r + p % r
        y[(slice(None), *place)] = x[(slice(None), *coarse, channel)]
    return y
