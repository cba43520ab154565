"""The extreme of each window, and which of its values that is, one spatial axis after the other.

The last axis comes first. Of several equal values the first is taken on each axis, which makes it the first
in row-major order: the first row that attains the extreme, and in it the first column.

The values of short windows are read by slices, those of longer ones from an axis of their own.
"""

from collections.abc import Callable, Sequence
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.kernels import reduction
from jaxnn.kernels.lowering.fusion import materialized
from jaxnn.kernels.padding import padded
from jaxnn.kernels.pooling.windows import AnyWindows, Windows, along, few, neutral, slices, unfold

#: The windows on each pooled axis, by the number of the axis.
Axes = tuple[tuple[int, AnyWindows], ...]
#: Whether the values of windows are to be read by slices.
Sliced = Callable[[AnyWindows], bool]


def short(windows: AnyWindows) -> bool:
    """Whether the values of these windows can be read by slices."""
    return isinstance(windows, Windows) and few(windows)


def extremes(x: jax.Array, axes: Axes, smallest: bool, sliced: Sliced) -> jax.Array:
    """The largest (or smallest) value of each window; NaN where a window holds one."""
    for axis, windows in reversed(axes):
        x = _extreme(_source(x, windows, sliced), axis, windows, smallest, sliced)
    return x


def firsts(x: jax.Array, axes: Axes, smallest: bool, sliced: Sliced) -> tuple[jax.Array, ...]:
    """The extremes and, for each axis in the order of ``axes``, which value of the window is the first."""
    taps = []
    for axis, windows in reversed(axes):
        x = _source(x, windows, sliced)
        y = _extreme(x, axis, windows, smallest, sliced)
        taps.append(_first(x, y, axis, windows, sliced))
        x = y
    return x, *reversed(taps)


def taken(x: jax.Array, taps: Sequence[jax.Array], axes: Axes, sliced: Sliced) -> jax.Array:
    """The value of each window of ``x`` that ``firsts`` found. Linear in ``x``."""
    for (axis, windows), tap in zip(reversed(axes), reversed(taps), strict=True):
        if sliced(windows):
            assert isinstance(windows, Windows)
            # The transpose reads this too: there the cotangents of two axes are kept apart.
            x = _at_tap(tap, materialized(x) if windows.overlap else x, axis, windows)
        else:
            x = _at_unfolded(tap, x, axis, windows)
    return x


def _source(x: jax.Array, windows: AnyWindows, sliced: Sliced) -> jax.Array:
    overlap = isinstance(windows, Windows) and windows.overlap
    return materialized(x) if sliced(windows) and overlap else x


def _extreme(x: jax.Array, axis: int, windows: AnyWindows, smallest: bool, sliced: Sliced) -> jax.Array:
    if sliced(windows):
        assert isinstance(windows, Windows)
        with jax.debug_infs(False):  # the padding is infinite on purpose
            taps = slices(x, {axis: windows}, neutral(x.dtype, smallest))
            return reduce(lax.min if smallest else lax.max, taps)
    return lax.squeeze(
        reduction.extreme(unfold(x, axis, windows), (axis + 1,), smallest=smallest), (axis + 1,)
    )


def _first(x: jax.Array, y: jax.Array, axis: int, windows: AnyWindows, sliced: Sliced) -> jax.Array:
    """The number of the first value in each window of ``x`` that attains ``y``, its extreme."""
    if sliced(windows):
        assert isinstance(windows, Windows)
        return materialized(_first_of_slices(x, y, axis, windows))
    hits = _attains(unfold(x, axis, windows), jnp.expand_dims(y, axis + 1))
    return lax.argmax(hits, axis + 1, tap_dtype(windows))


def tap_dtype(windows: AnyWindows) -> type:
    """One byte numbers the values of short windows."""
    return jnp.int8 if short(windows) else jnp.int32


def _first_of_slices(x: jax.Array, y: jax.Array, axis: int, w: Windows) -> jax.Array:
    result = jnp.full_like(y, w.window - 1, dtype=jnp.int8)
    for tap in reversed(range(w.window - 1)):  # so that an earlier hit overwrites a later one
        first, last, start = w.reached(tap)
        if first == last:
            continue
        value = lax.slice_in_dim(x, start, start + (last - first - 1) * w.stride + 1, w.stride, axis)
        hit = _attains(value, lax.slice_in_dim(y, first, last, 1, axis))
        hit = padded(hit, {axis: (first, w.count - last)}, False)
        result = jnp.where(hit, jnp.asarray(tap, jnp.int8), result)
    return result


def _at_unfolded(tap: jax.Array, x: jax.Array, axis: int, windows: AnyWindows) -> jax.Array:
    copies = unfold(x, axis, windows)
    chosen = lax.broadcasted_iota(tap.dtype, copies.shape, axis + 1) == jnp.expand_dims(tap, axis + 1)
    kept = lax.select(chosen, copies, jnp.zeros_like(copies))
    return jnp.sum(kept, axis=axis + 1, dtype=x.dtype)


def _at_tap(tap: jax.Array, carried: jax.Array, axis: int, w: Windows) -> jax.Array:
    """The value of each window of ``carried`` at its ``tap``. Linear in ``carried``.

    The axis is cut into rows as long as the stride. Value t of window i is in row i + ⌊(d·t − low)/s⌋, at a
    place that does not depend on i: a window is a few whole rows, and each of their places has the number of
    a value, or none. The transpose adds up in each row what the few windows over it contribute: no scatter.
    """
    rows, stride = -(-w.size // w.stride), w.stride
    carried = padded(carried, {axis: (0, rows * stride - w.size)})
    if stride > 1:  # an axis of one place would only cost a copy
        shape = (*carried.shape[:axis], rows, stride, *carried.shape[axis + 1 :])
        carried, tap = lax.reshape(carried, shape), jnp.expand_dims(tap, axis + 1)
    numbers: dict[int, np.ndarray] = {}
    for number in range(w.window):
        row, place = divmod(number * w.dilation - w.low, stride)
        numbers.setdefault(row, np.full(stride, -1))[place] = number
    terms = []
    for row, wanted in numbers.items():
        first, last = max(-row, 0), min(rows - row, w.count)
        if first >= last:
            continue
        values = lax.slice_in_dim(carried, first + row, last + row, 1, axis)
        here = jnp.broadcast_to(lax.slice_in_dim(tap, first, last, 1, axis), values.shape)
        hit = here == along(wanted if stride > 1 else wanted[0], (axis + 1,) * (stride > 1), here, here.dtype)
        kept = lax.select(hit, values, jnp.zeros_like(values))
        term = jnp.sum(kept, axis + 1, dtype=carried.dtype) if stride > 1 else kept
        terms.append(padded(term, {axis: (first, w.count - last)}))
    return reduce(lax.add, terms)


def _attains(value: jax.Array, y: jax.Array) -> jax.Array:
    """Whether this value is its window's extreme. A NaN always is: equality alone would find it nowhere."""
    return (value == y) | (value != value)
