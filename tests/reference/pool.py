"""Pools, slow and obvious: every window of every channel is gathered by hand, in NumPy float64."""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

Ints = Sequence[int]


def padding_pairs(padding, space: Ints, window: Ints, strides: Ints, dilation: Ints) -> list[tuple[int, int]]:
    """Names and numbers as one (low, high) pair per axis."""
    if padding == "VALID":
        return [(0, 0)] * len(space)
    if isinstance(padding, str):
        result = []
        for size, k, s, d in zip(space, window, strides, dilation, strict=True):
            out = -(-size // s)
            total = max((out - 1) * s + d * (k - 1) + 1 - size, 0)
            few, many = total // 2, total - total // 2
            result.append((few, many) if padding == "SAME" else (many, few))
        return result
    if isinstance(padding, int):
        return [(padding, padding)] * len(space)
    return [p if isinstance(p, tuple) else (p, p) for p in padding]


def axis_windows(size: int, k: int, s: int, d: int, low: int, high: int, ceil_mode: bool) -> list[list[int]]:
    """The positions of each window's values on one axis; those outside [0, size) are padding or beyond."""
    starts = []
    start = -low
    while start + d * (k - 1) < size + high:
        starts.append(start)
        start += s
    hangs_over = starts[-1] + d * (k - 1) < size + high - 1
    if ceil_mode and hangs_over and start < size:
        starts.append(start)
    return [[start + d * j for j in range(k)] for start in starts]


class Windows:
    """All windows of a pool: their place in the output, their positions in the input."""

    def __init__(self, space, window, strides=None, padding="VALID", dilation=None, ceil_mode=False):
        strides = strides or window
        dilation = dilation or [1] * len(space)
        self.space = tuple(space)
        self.pads = padding_pairs(padding, space, window, strides, dilation)
        self.axes = [
            axis_windows(n, k, s, d, low, high, ceil_mode)
            for n, k, s, d, (low, high) in zip(space, window, strides, dilation, self.pads, strict=True)
        ]
        self.out = tuple(len(axis) for axis in self.axes)

    @classmethod
    def adaptive(cls, space: Ints, out: Ints) -> "Windows":
        self = cls.__new__(cls)
        self.space, self.out, self.pads = tuple(space), tuple(out), [(0, 0)] * len(space)
        self.axes = [
            [[j for j in range(n) if i * n // o <= j < -(-(i + 1) * n // o)] for i in range(o)]
            for n, o in zip(space, out, strict=True)
        ]
        return self

    def __iter__(self) -> Iterator[tuple[tuple[int, ...], list[tuple[int, ...]], int]]:
        """(output index, positions of the input's own values in row-major order, values with padding)."""
        for index in np.ndindex(*self.out):
            taps = list(product(*(axis[i] for axis, i in zip(self.axes, index, strict=True))))
            real = [t for t in taps if all(0 <= p < n for p, n in zip(t, self.space, strict=True))]
            padded = [
                t
                for t in taps
                if all(
                    -low <= p < n + high for p, n, (low, high) in zip(t, self.space, self.pads, strict=True)
                )
            ]
            yield index, real, len(padded)

    def all_hold_values(self) -> bool:
        return all(real for _, real, _ in self)


def _each(x: np.ndarray, windows: Windows) -> Iterator[tuple[tuple, list[tuple], np.ndarray, int]]:
    """(place in the output, places in the input, values, values with padding) of each window and channel."""
    for n, c in product(range(x.shape[0]), range(x.shape[-1])):
        for index, real, padded in windows:
            places = [(n, *position, c) for position in real]
            yield (n, *index, c), places, np.array([x[place] for place in places]), padded


def _first_largest(values: np.ndarray) -> int:
    for i, value in enumerate(values):
        if np.isnan(value):
            return i
    return max(range(len(values)), key=lambda i: (values[i], -i))


def max_pool(x: np.ndarray, windows: Windows, cotangent: np.ndarray | None = None):
    """The maxima, the flat position of each, and the gradient of ⟨y, cotangent⟩."""
    y = np.zeros((x.shape[0], *windows.out, x.shape[-1]))
    indices = np.zeros(y.shape, np.int32)
    dx = np.zeros(x.shape)
    for place, places, values, _ in _each(x, windows):
        winner = _first_largest(values)
        y[place] = values[winner]
        indices[place] = np.ravel_multi_index(places[winner][1:-1], windows.space)
        if cotangent is not None:
            dx[places[winner]] += cotangent[place]
    return y, indices, dx


def min_pool(x: np.ndarray, windows: Windows, cotangent: np.ndarray | None = None):
    y, indices, dx = max_pool(-x, windows, cotangent)
    return -y, indices, dx


def avg_pool(x: np.ndarray, windows: Windows, cotangent: np.ndarray, count_include_pad: bool = False):
    """The averages, and the gradient of ⟨y, cotangent⟩."""
    y = np.zeros((x.shape[0], *windows.out, x.shape[-1]))
    dx = np.zeros(x.shape)
    for place, places, values, padded in _each(x, windows):
        count = padded if count_include_pad else len(values)
        y[place] = values.sum() / count
        for source in places:
            dx[source] += cotangent[place] / count
    return y, dx


def lp_pool(x: np.ndarray, windows: Windows, cotangent: np.ndarray, p: float):
    """The p-norms, and the gradient of ⟨y, cotangent⟩."""
    y = np.zeros((x.shape[0], *windows.out, x.shape[-1]))
    dx = np.zeros(x.shape)
    for place, places, values, _ in _each(x, windows):
        norm = (np.abs(values) ** p).sum() ** (1 / p)
        y[place] = norm
        for source, value in zip(places, values, strict=True):
            if norm > 0:
                dx[source] += cotangent[place] * np.sign(value) * (abs(value) / norm) ** (p - 1)
    return y, dx


def max_unpool(x: np.ndarray, indices: np.ndarray, out: Ints) -> np.ndarray:
    """Values written one by one, so that a later one replaces an earlier one."""
    y = np.zeros((x.shape[0], *out, x.shape[-1]), x.dtype)
    for n, c in product(range(x.shape[0]), range(x.shape[-1])):
        for index in np.ndindex(*x.shape[1:-1]):
            flat = indices[(n, *index, c)]
            if 0 <= flat < np.prod(out):
                y[(n, *np.unravel_index(flat, out), c)] = x[(n, *index, c)]
    return y
