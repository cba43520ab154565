"""The maximum or minimum of each window, whose derivative belongs to the first value that attains it."""

from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.kernels import reduction
from jaxnn.kernels.dtypes import accumulator
from jaxnn.kernels.lowering.fusion import stored
from jaxnn.kernels.pooling.windows import AnyWindows, Windows, along, few, padded, slices, unfold


@partial(jax.jit, static_argnums=(1, 2), inline=True)  # traced and differentiated once per shape
def pooled(x: jax.Array, axes: tuple[tuple[int, Windows], ...], smallest: bool) -> jax.Array:
    """The extreme of each window, one axis after the other, the last one first."""
    dtype, x = x.dtype, stored(x)
    if jnp.issubdtype(dtype, jnp.floating):
        x = x.astype(accumulator(dtype))  # a CPU would convert half-precision values for every comparison
    for axis, windows in reversed(axes):
        x = extreme(stored(x) if windows.overlap else x, axis, windows, smallest)
    return x.astype(dtype)


@partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def extreme(x: jax.Array, axis: int, windows: AnyWindows, smallest: bool) -> jax.Array:
    """The largest (or smallest) value of each window on one axis; NaN where a window holds one."""
    if isinstance(windows, Windows) and few(windows):
        with jax.debug_infs(False):  # the padding is infinite on purpose
            taps = slices(x, {axis: windows}, _never(x.dtype, smallest))
            return reduce(lax.min if smallest else lax.max, taps)
    return lax.squeeze(
        reduction.extreme(unfold(x, axis, windows), (axis + 1,), smallest=smallest), (axis + 1,)
    )


@extreme.defjvp
def _extreme_jvp(
    axis: int, windows: AnyWindows, smallest: bool, primals: tuple[Any], tangents: tuple[Any]
) -> tuple[jax.Array, jax.Array]:
    (x,), (dx,) = primals, tangents
    y = extreme(x, axis, windows, smallest)
    return y, at_first(x, y, dx, axis, windows)


def at_first(x: jax.Array, y: jax.Array, carried: jax.Array, axis: int, windows: AnyWindows) -> jax.Array:
    """``carried`` where each window of ``x`` first attains ``y``, its extreme. Linear in ``carried``.

    Pooling the last axis first makes this the first in row-major order: the first row that attains the
    extreme, and in it the first column.
    """
    if isinstance(windows, Windows) and few(windows):
        first = stored(_first_tap(x, y, axis, windows))
        # The linear code is transposed too: ``stored`` keeps the cotangents of two axes apart.
        return _at_tap(first, stored(carried) if windows.overlap else carried, axis, windows)
    hits = _attains(unfold(x, axis, windows), jnp.expand_dims(y, axis + 1))
    first = jnp.expand_dims(lax.argmax(hits, axis + 1, jnp.int32), axis + 1)
    chosen = lax.broadcasted_iota(jnp.int32, hits.shape, axis + 1) == first
    copies = unfold(carried, axis, windows)
    kept = jnp.where(chosen, copies, jnp.zeros_like(copies))
    return jnp.sum(kept, axis=axis + 1, dtype=carried.dtype)


def _first_tap(x: jax.Array, y: jax.Array, axis: int, w: Windows) -> jax.Array:
    """The number of the first value in each window of ``x`` that attains ``y``, as one byte."""
    result = jnp.full_like(y, w.window - 1, dtype=jnp.int8)
    for tap in reversed(range(w.window - 1)):  # so that an earlier hit overwrites a later one
        first, last, start = w.reached(tap)
        if first == last:
            continue
        value = lax.slice_in_dim(x, start, start + (last - first - 1) * w.stride + 1, w.stride, axis)
        hit = _attains(value, lax.slice_in_dim(y, first, last, 1, axis))
        hit = padded(hit, {axis: (first, w.count - last)}, jnp.asarray(False))
        result = jnp.where(hit, jnp.asarray(tap, jnp.int8), result)
    return result


def _at_tap(tap: jax.Array, carried: jax.Array, axis: int, w: Windows) -> jax.Array:
    """The value of each window of ``carried`` at its ``tap``. Linear in ``carried``.

    The axis is cut into rows as long as the stride. Value t of window i is in row i + ⌊(d·t − low)/s⌋, at a
    place that does not depend on i: a window is a few whole rows, and each of their places has the number of
    a value, or none. The transpose adds up in each row what the few windows over it contribute: no scatter.
    """
    rows, stride = -(-w.size // w.stride), w.stride
    nothing = jnp.zeros((), carried.dtype)
    carried = padded(carried, {axis: (0, rows * stride - w.size)}, nothing)
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
        kept = jnp.where(hit, values, jnp.zeros_like(values))
        term = jnp.sum(kept, axis + 1, dtype=carried.dtype) if stride > 1 else kept
        terms.append(padded(term, {axis: (first, w.count - last)}, nothing))
    return reduce(lax.add, terms)


def _attains(value: jax.Array, y: jax.Array) -> jax.Array:
    """Whether this value is its window's extreme. A NaN always is: equality alone would find it nowhere."""
    return (value == y) | (value != value)


def _never(dtype: jnp.dtype, smallest: bool) -> jax.Array:
    """The value that never changes a maximum (or minimum)."""
    if dtype == jnp.bool_:
        return jnp.asarray(smallest)
    if jnp.issubdtype(dtype, jnp.integer):
        info = jnp.iinfo(dtype)  # type: ignore[no-untyped-call]
        return jnp.asarray(info.max if smallest else info.min, dtype)
    return jnp.asarray(jnp.inf if smallest else -jnp.inf, dtype)
