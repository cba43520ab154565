"""The extreme of each window, and which of its values that is, one spatial axis after the other.

The last axis comes first. Of several equal values the first is taken on each axis, which makes it the first
in row-major order: the first row that attains the extreme, and in it the first column.

The values of short windows are read by slices, those of longer ones from an axis of their own.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.kernels.lowering.fusion import materialized
from jaxnn.kernels.padding import padded
from jaxnn.kernels.pooling.windows import AnyWindows, Windows, along, few, inside, neutral, slices, unfold
from jaxnn.kernels.reduction.extremes import extreme

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
        x, tap = _first(_source(x, windows, sliced), axis, windows, smallest, sliced)
        taps.append(tap)
    return x, *reversed(taps)


def taken(x: jax.Array, taps: Sequence[jax.Array], axes: Axes, sliced: Sliced) -> jax.Array:
    """The value of each window of ``x`` that ``firsts`` found. Linear in ``x``."""
    for (axis, windows), tap in zip(reversed(axes), reversed(taps), strict=True):
        if sliced(windows):
            assert isinstance(windows, Windows)
            x = _at_tap(tap, materialized(x) if windows.overlap else x, axis, windows)
        else:
            x = _at_unfolded(tap, x, axis, windows)
    return x


def given_back(
    y: jax.Array, taps: Sequence[jax.Array], axes: Axes, sliced: Sliced, shape: Sequence[int]
) -> jax.Array:
    """The transpose of ``taken``: adds each value of ``y`` to that of an array of ``shape`` it came from."""
    for (axis, windows), tap in zip(axes, taps, strict=True):
        if sliced(windows):
            assert isinstance(windows, Windows)
            y = _to_tap(tap, y, axis, windows)
            # Keeps the cotangents of two axes apart.
            y = materialized(y) if windows.overlap else y
        else:
            like = jax.typeof(y).update(shape=(*y.shape[:axis], shape[axis], *y.shape[axis + 1 :]))
            at = partial(_at_unfolded, tap, axis=axis, windows=windows)
            (y,) = jax.linear_transpose(at, like)(y)
    return y


def _source(x: jax.Array, windows: AnyWindows, sliced: Sliced) -> jax.Array:
    overlap = isinstance(windows, Windows) and windows.overlap
    return materialized(x) if sliced(windows) and overlap else x


def _extreme(x: jax.Array, axis: int, windows: AnyWindows, smallest: bool, sliced: Sliced) -> jax.Array:
    if sliced(windows):
        assert isinstance(windows, Windows)
        return _largest(_values(x, axis, windows, smallest), smallest)
    return lax.squeeze(extreme(unfold(x, axis, windows), (axis + 1,), smallest=smallest), (axis + 1,))


def _values(x: jax.Array, axis: int, windows: Windows, smallest: bool) -> list[jax.Array]:
    with jax.debug_infs(False):  # the padding is infinite on purpose
        return list(slices(x, {axis: windows}, neutral(x.dtype, smallest)))


def _largest(values: Sequence[jax.Array], smallest: bool) -> jax.Array:
    return reduce(lax.min if smallest else lax.max, values)


def _first(
    x: jax.Array, axis: int, windows: AnyWindows, smallest: bool, sliced: Sliced
) -> tuple[jax.Array, jax.Array]:
    """The extreme of each window of ``x``, and the number of the first value that attains it."""
    if sliced(windows):
        assert isinstance(windows, Windows)
        values = _values(x, axis, windows, smallest)
        y = _largest(values, smallest)
        return y, materialized(_first_of_slices(x, values, y, axis, windows))
    y = _extreme(x, axis, windows, smallest, sliced)
    hits = lax.bitwise_not(_misses(unfold(x, axis, windows), lax.expand_dims(y, (axis + 1,))))
    return y, _of_own(lax.argmax(hits, axis + 1, tap_dtype(windows)), axis, windows)


def _of_own(tap: jax.Array, axis: int, windows: AnyWindows) -> jax.Array:
    """The number of a window's first own value where ``tap`` is that of the padding before it, its copy."""
    own = inside(windows).argmax(axis=1)
    return lax.max(tap, along(own, (axis,), tap, tap.dtype)) if own.any() else tap


def tap_dtype(windows: AnyWindows) -> type:
    """One byte numbers the values of short windows."""
    return jnp.int8 if short(windows) else jnp.int32


def _first_of_slices(
    x: jax.Array, values: Sequence[jax.Array], y: jax.Array, axis: int, w: Windows
) -> jax.Array:
    """The number of the first value in each window that attains ``y``."""

    def misses(tap: int) -> jax.Array:
        first, last, start = w.reached(tap)
        if last - first == w.count:
            return _misses(values[tap], y)
        # Padding is no value, though it may equal one.
        stop = max(start + (last - first - 1) * w.stride + 1, start)
        value = lax.slice_in_dim(x, start, stop, w.stride, axis)
        miss = _misses(value, lax.slice_in_dim(y, first, last, 1, axis))
        return padded(miss, {axis: (first, w.count - last)}, True)

    if w.window == 2:
        return lax.convert_element_type(misses(0), np.int8)
    number = lax.full_like(y, w.window - 1, np.int8)
    for tap in reversed(range(w.window - 1)):  # so that an earlier hit overwrites a later one
        number = lax.select(misses(tap), number, lax.full_like(number, tap))
    return number


def _at_unfolded(tap: jax.Array, x: jax.Array, axis: int, windows: AnyWindows) -> jax.Array:
    copies = unfold(x, axis, windows)
    numbers = lax.broadcasted_iota(tap.dtype, copies.shape, axis + 1)
    chosen = lax.eq(numbers, _copies(tap, axis, copies.shape[axis + 1]))
    return lax.reduce_sum(lax.select(chosen, copies, lax.full_like(copies, 0)), (axis + 1,))


def _at_tap(tap: jax.Array, x: jax.Array, axis: int, w: Windows) -> jax.Array:
    """The value of each window of ``x`` at its ``tap``. Linear in ``x``.

    The axis is cut into rows as long as the stride. Value t of window i is in row i + ⌊(d·t − low)/s⌋, at a
    place that does not depend on i: a window is a few whole rows, and each of their places has the number of
    a value, or none. The transpose adds up in each row what the few windows over it contribute: no scatter.
    """
    rows = -(-w.size // w.stride)
    x = _in_rows(padded(x, {axis: (0, rows * w.stride - w.size)}), axis, w.stride)
    terms = []
    for row, numbers, first, last in _rows(w):
        values = _part(x, first + row, last + row, axis)
        hit = _is_number(_part(tap, first, last, axis), numbers, axis)
        kept = lax.select(hit, values, lax.full_like(values, 0))
        term = lax.reduce_sum(kept, (axis + 1,)) if w.stride > 1 else kept
        terms.append(padded(term, {axis: (first, w.count - last)}))
    return reduce(lax.add, terms)


def _to_tap(tap: jax.Array, y: jax.Array, axis: int, w: Windows) -> jax.Array:
    """The transpose of ``_at_tap``."""
    rows = -(-w.size // w.stride)
    terms = []
    for row, numbers, first, last in _rows(w):
        hit = _is_number(_part(tap, first, last, axis), numbers, axis)
        values = _part(y, first, last, axis)
        values = _copies(values, axis, w.stride) if w.stride > 1 else values
        kept = lax.select(hit, values, lax.full_like(values, 0))
        terms.append(padded(kept, {axis: (first + row, rows - last - row)}))
    x = reduce(lax.add, terms)
    if w.stride > 1:
        x = lax.reshape(x, (*x.shape[:axis], rows * w.stride, *x.shape[axis + 2 :]))
    return padded(x, {axis: (0, w.size - rows * w.stride)})


def _rows(w: Windows) -> Iterator[tuple[int, np.ndarray, int, int]]:
    """The rows of a window, counted from its own; the numbers of the values in a row, −1 for none; and which
    windows, [first, last), have that row.
    """
    rows: dict[int, np.ndarray] = {}
    for number in range(w.window):
        row, place = divmod(number * w.dilation - w.low, w.stride)
        rows.setdefault(row, np.full(w.stride, -1, np.int8))[place] = number
    for row, numbers in rows.items():
        first, last = max(-row, 0), min(-(-w.size // w.stride) - row, w.count)
        if first < last:
            yield row, numbers, first, last


def _part(a: jax.Array, first: int, last: int, axis: int) -> jax.Array:
    return a if last - first == a.shape[axis] else lax.slice_in_dim(a, first, last, 1, axis)


def _in_rows(x: jax.Array, axis: int, stride: int) -> jax.Array:
    """An axis as two, of rows and of their places: an axis of one place would only cost a copy."""
    if stride == 1:
        return x
    return lax.reshape(x, (*x.shape[:axis], x.shape[axis] // stride, stride, *x.shape[axis + 1 :]))


def _copies(a: jax.Array, axis: int, count: int) -> jax.Array:
    """``count`` copies of each value of an axis, along a new axis after it."""
    own = (*range(axis + 1), *range(axis + 2, a.ndim + 1))
    return lax.broadcast_in_dim(a, (*a.shape[: axis + 1], count, *a.shape[axis + 1 :]), own)


def _is_number(tap: jax.Array, numbers: np.ndarray, axis: int) -> jax.Array:
    """Where in the rows of the windows ``tap`` is the number of the place."""
    if numbers.size == 1:
        return lax.eq(tap, lax.full_like(tap, numbers[0]))
    taps = _copies(tap, axis, numbers.size)
    return lax.eq(taps, along(numbers, (axis + 1,), taps, taps.dtype))


def _misses(value: jax.Array, y: jax.Array) -> jax.Array:
    """Whether this value isn't its window's extreme. A NaN is, though it equals nothing."""
    return lax.bitwise_and(lax.ne(value, y), lax.eq(value, value))
