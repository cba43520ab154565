"""Which values of an axis each value of the resampled one is computed from, and with what weights.

The tables are NumPy constants of the trace. Source positions are ratios of integers, so that no rounding
moves a tap to its neighbour, however large the axis.
"""

from functools import lru_cache
from math import ceil
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

#: How far the interpolation kernel of a method reaches, in input pixels.
REACH = {"linear": 1, "cubic": 2}


class Taps(NamedTuple):
    """A banded matrix: y[i] = Σₜ weight[t, i] · x[source[t, i]]. Both are (taps, output size)."""

    source: Array
    weight: Array


def nearest_index(size: int, out: int) -> Array:
    """The input pixel under the centre of each output pixel: ⌊(i + ½)·size/out⌋, in integers."""
    index: Array = (2 * np.arange(out) + 1) * size // (2 * out)
    return index


@lru_cache(maxsize=64)  # the values and each derivative of a layer read the same table
def taps(
    method: str, size: int, out: int, align_corners: bool, antialias: bool, cubic_coefficient: float
) -> Taps:
    """The taps that take ``size`` values to ``out`` positions.

    Positions beyond an edge read the edge value. With ``antialias`` on a shrinking axis the kernel is widened
    by size/out, and taps beyond the edges are left out.
    """
    if method == "nearest":
        return Taps(nearest_index(size, out)[None], np.ones((1, out)))
    floor, rest, whole = _positions(size, out, align_corners)
    # The kernel is widened by over / under. Each distance is one division of integers, so that a weight that
    # is 0 by its formula is exactly 0.
    over, under = (size, out) if antialias and size > out else (1, 1)
    reach = ceil(REACH[method] * over / under)
    offsets = np.arange(1 - reach, reach + 1)[:, None]
    index, distance = floor + offsets, np.abs(rest - offsets * whole) * under / (whole * over)
    weight = _triangle(distance) if method == "linear" else _cubic(distance, cubic_coefficient)
    if over > under:
        weight = np.where((index >= 0) & (index < size), weight, 0.0)
        weight /= weight.sum(axis=0)
    return Taps(np.clip(index, 0, size - 1), weight)


def _positions(size: int, out: int, align_corners: bool) -> tuple[Array, Array, int]:
    """Where the output pixels lie on the input axis: whole pixels, and a numerator and denominator beyond."""
    i = np.arange(out)
    if align_corners:
        numerator, denominator = i * (size - 1), max(out - 1, 1)
    else:
        numerator, denominator = (2 * i + 1) * size - out, 2 * out
    floor, rest = np.divmod(numerator, denominator)
    return floor, rest, denominator


def _triangle(d: Array) -> Array:
    weight: Array = np.maximum(1 - d, 0)
    return weight


def _cubic(d: Array, a: float) -> Array:
    """Keys's cubic convolution kernel with slope ``a`` at distance 1; it is 0 beyond distance 2."""
    near = (d - 1) * ((a + 2) * d * d - d - 1)  # factored, so that both are exactly 0 at distance 1
    far = a * (d - 1) * (d - 2) ** 2
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def transposed(taps: Taps, size: int) -> Taps:
    """The taps of the transposed matrix, which takes ``out`` values to ``size``."""
    out = taps.source.shape[1]
    used = taps.weight != 0
    cell = (taps.source * out + np.arange(out))[used]
    cells, which = np.unique(cell, return_inverse=True)
    weights = np.bincount(which.reshape(-1), taps.weight[used])
    row, column = np.divmod(cells, out)
    first = np.searchsorted(row, np.arange(size))
    rank = np.arange(len(row)) - first[row]
    shape = (rank.max() + 1, size)
    result = Taps(np.zeros(shape, int), np.zeros(shape))
    result.source[rank, row] = column
    result.weight[rank, row] = weights
    return result


def without_zeros(taps: Taps) -> Taps:
    """The same sums with no weight of 0, except where all are.

    A tap without a weight reads the value of the largest weight too, and gets half of that: no rounding. A
    weight of 0 must not multiply, since the value may be NaN or infinite; where there is none, nothing has to
    be selected.
    """
    source, weight = taps.source.copy(), taps.weight.copy()
    every = np.arange(weight.shape[1])
    largest = np.abs(weight).argmax(axis=0)
    for row in range(len(weight)):
        unused = weight[row] == 0
        weight[largest, every] /= np.where(unused, 2, 1)
        source[row] = np.where(unused, source[largest, every], source[row])
        weight[row] = np.where(unused, weight[largest, every], weight[row])
    return Taps(source, weight)
