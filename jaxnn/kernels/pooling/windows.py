"""Which values lie under each window of a pool, one spatial axis at a time.

A window is described axis by axis, and its values are read in one of two ways. ``slices`` takes the first
value of all windows, then the second, ...: strided slices, which XLA fuses into one loop, for windows of a
few values. ``unfold`` copies every window into an axis of its own: one operation, however large the window.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jaxnn.kernels.lowering.varying import sharding_as
from jaxnn.kernels.padding import padded

#: Up to this many values per window, slices; beyond, the program would grow with the window for little gain.
MOST_SLICES = 32


@dataclass(frozen=True)
class Windows:
    """``count`` windows of ``window`` values on an axis of ``size``.

    Value j of window i is at s·i + d·j − low; padding is ``low`` and ``high`` wide.
    """

    size: int
    window: int
    stride: int
    dilation: int
    low: int
    high: int
    count: int

    def positions(self) -> np.ndarray:
        """Where each value of each window lies: (count, window). Outside [0, size) is padding."""
        starts = self.stride * np.arange(self.count) - self.low
        return starts[:, None] + self.dilation * np.arange(self.window)

    def reached(self, tap: int) -> tuple[int, int, int]:
        """The windows [first, last) whose value ``tap`` is not padding, and its position in ``first``."""
        offset = self.dilation * tap - self.low
        first = min(max(-(offset // self.stride), 0), self.count)
        last = min(max(-((offset - self.size) // self.stride), first), self.count)
        return first, last, first * self.stride + offset if last > first else 0

    @property
    def side_by_side(self) -> bool:
        """Whether each window begins where the one before it ends, on an axis of known size."""
        return isinstance(self.size, int) and self.dilation == 1 and self.window == self.stride

    @property
    def tiles(self) -> bool:
        """Whether every value is in one window and there is no padding."""
        apart = self.dilation == 1 and self.window == self.stride and self.low == 0
        return apart and self.size == self.count * self.window

    @property
    def is_whole(self) -> bool:
        """Whether the only window is the whole axis."""
        return self.count == 1 and self.tiles

    @property
    def overlap(self) -> bool:
        """Whether a value may be in more than one window."""
        return self.stride < self.dilation * (self.window - 1) + 1

    @property
    def reach(self) -> int:
        """The high padding that keeps every window in the array, with the overhang of ceil_mode."""
        span = (self.count - 1) * self.stride + self.dilation * (self.window - 1) + 1
        return max(span - self.low - self.size, 0)


@dataclass(frozen=True)
class AdaptiveWindows:
    """``count`` windows that cover an axis of ``size``: window i is [⌊i·L/o⌋, ⌈(i + 1)·L/o⌉)."""

    size: int
    count: int

    def positions(self) -> np.ndarray:
        """As in ``Windows``; windows shorter than the longest are filled up with −1."""
        edges = np.arange(self.count + 1) * self.size
        starts, stops = edges[:-1] // self.count, -(-edges[1:] // self.count)
        steps = starts[:, None] + np.arange((stops - starts).max())
        return np.where(steps < stops[:, None], steps, -1)


AnyWindows = Windows | AdaptiveWindows


def few(*axes: Windows) -> bool:
    """Whether the windows are small enough to take their values by slices."""
    return prod(w.window for w in axes) <= MOST_SLICES


def inside(axis_windows: AnyWindows) -> np.ndarray:
    """Which values of each window are the input's own, and not padding: (count, window) booleans."""
    positions = axis_windows.positions()
    return np.logical_and(positions >= 0, positions < axis_windows.size)


def counts(axis_windows: AnyWindows, *, include_pad: bool = False) -> np.ndarray:
    """How many values each window holds, padding counted or not; the overhang of ceil_mode never is."""
    if include_pad and isinstance(axis_windows, Windows):
        counted = axis_windows.positions() < axis_windows.size + axis_windows.high
    else:
        counted = inside(axis_windows)
    result: np.ndarray = np.sum(counted, axis=1)
    return result


def slices(x: jax.Array, axes: Mapping[int, Windows], fill: ArrayLike = 0) -> Iterator[jax.Array]:
    """The first value of every window, then the second, ... in row-major order; padding is ``fill``.

    Each slice is padded after it is cut: a padded copy of ``x`` would have to be stored first.
    """
    for taps in product(*(range(w.window) for w in axes.values())):
        value, pads = x, {}
        for (axis, w), tap in zip(axes.items(), taps, strict=True):
            first, last, start = w.reached(tap)
            stop = start + (last - first - 1) * w.stride + 1
            value = lax.slice_in_dim(value, start, max(stop, start), w.stride, axis)
            pads[axis] = (first, w.count - last)
        yield padded(value, pads, fill)


def unfold(x: jax.Array, axis: int, axis_windows: AnyWindows) -> jax.Array:
    """A copy of every window: (..., L, ...) → (..., count, window, ...).

    Padding is replaced by the first real value of the same window, so that a maximum needs no mask.
    """
    positions, real = axis_windows.positions(), inside(axis_windows)
    first = np.take_along_axis(positions, real.argmax(axis=1)[:, None], axis=1)
    positions = np.where(real, positions, first)
    if np.array_equal(positions.ravel(), np.arange(axis_windows.size)):
        return x.reshape(*x.shape[:axis], *positions.shape, *x.shape[axis + 1 :])
    return jnp.take(x, positions, axis=axis, mode="clip")


def along(values: np.ndarray, axes: tuple[int, ...], like: jax.Array, dtype: DTypeLike) -> jax.Array:
    """``values`` along these axes of an array of the shape of ``like``, the same on all others."""
    # A select may require the sharding of ``like``.
    sharding = sharding_as(like, like.shape)
    return lax.broadcast_in_dim(np.asarray(values, dtype), like.shape, axes, out_sharding=sharding)


def neutral(dtype: jnp.dtype, smallest: bool) -> np.ndarray:
    """The value that never changes a maximum (or minimum), as a constant that ``lax`` recognises."""
    if dtype == jnp.bool_:
        return np.asarray(smallest)
    if jnp.issubdtype(dtype, jnp.integer):
        info = jnp.iinfo(dtype)  # type: ignore[no-untyped-call]
        return np.asarray(info.max if smallest else info.min, dtype)
    return np.asarray(np.inf if smallest else -np.inf, dtype)
