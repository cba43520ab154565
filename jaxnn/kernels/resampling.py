"""Resampling one axis: the taps of each output, and a weighted sum whose derivative is a weighted sum too.

The tables are NumPy constants of the trace. Source positions are ratios of integers, so that no rounding
moves a tap to its neighbour, however large the axis.
"""

from functools import partial
from math import ceil
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.kernels.lowering.fusion import stored
from jaxnn.kernels.lowering.linear_map import with_transpose

Array = np.ndarray[Any, Any]

#: How far the interpolation kernel of a method reaches, in input pixels.
REACH = {"linear": 1, "cubic": 2}

#: Up to this many taps are unrolled; more of them become a loop.
_UNROLLED = 16


class Taps(NamedTuple):
    """A banded matrix: y[i] = Σₜ weight[t, i] · x[source[t, i]]. Both are (taps, output size)."""

    source: Array
    weight: Array


def nearest_index(size: int, out: int) -> Array:
    """The input pixel under the centre of each output pixel: ⌊(i + ½)·size/out⌋, in integers."""
    index: Array = (2 * np.arange(out) + 1) * size // (2 * out)
    return index


def taps(
    method: str, size: int, out: int, *, align_corners: bool, antialias: bool, cubic_coefficient: float
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


@partial(
    jax.jit,
    static_argnums=(1, 2),
    static_argnames=("method", "align_corners", "antialias", "cubic_coefficient"),
)
def resample(x: jax.Array, axis: int, out: int, **settings: Any) -> jax.Array:
    """``x`` with ``axis`` resampled at ``out`` positions; jitted: eager calls trace once per shape."""
    table = taps(size=x.shape[axis], out=out, **settings)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return _take(x, axis, table.source[0])
    return weighted_sum(x, axis, table)


def weighted_sum(x: jax.Array, axis: int, taps: Taps) -> jax.Array:
    """y[i] = Σₜ weight[t, i] · x[source[t, i]] along ``axis``, with a transpose that gathers as well.

    The transpose that JAX would derive is a scatter, which is serial on CPUs.
    """
    back = transposed(taps, x.shape[axis])
    return with_transpose(
        x,
        {axis: taps.source.shape[1]},
        lambda v: _gathered(v, axis, taps),
        lambda v: _gathered(v, axis, back),
    )


def _gathered(x: jax.Array, axis: int, taps: Taps) -> jax.Array:
    along = [1] * x.ndim
    along[axis] = -1
    # XLA moves the axis of a gather to the front. Stored here, it is moved back while the values are
    # computed, and not by a copy of them.
    x = stored(x)

    def term(source: Array | jax.Array, weight: Array | jax.Array, *, some: bool) -> jax.Array:
        weight = jnp.asarray(weight, x.dtype).reshape(along)
        values = _take(x, axis, source) * weight
        # A weight of zero must not multiply: the value may be NaN or infinite.
        return jnp.where(weight != 0, values, jnp.zeros_like(values)) if some else values

    if len(taps.source) <= _UNROLLED:
        rows = [row for row in zip(*taps, strict=True) if row[1].any()]
        terms = [term(source, weight, some=not weight.all()) for source, weight in rows]
        return stored(sum(terms[1:], terms[0]))
    sources, weights = jnp.asarray(taps.source, jnp.int32), jnp.asarray(taps.weight, x.dtype)

    def add(t: jax.Array, total: jax.Array) -> jax.Array:
        return total + term(sources[t], weights[t], some=True)

    first = term(taps.source[0], taps.weight[0], some=True)
    return lax.fori_loop(1, len(taps.source), add, first)


def _take(x: jax.Array, axis: int, index: Array | jax.Array) -> jax.Array:
    """The values of ``x`` at these positions along ``axis``."""
    return jnp.take(x, jnp.asarray(index, jnp.int32), axis=axis, mode="clip")
