"""Weighted sums of gathered values along axes.

Their transpose gathers as well, on every platform. The one that JAX derives scatters: serially on CPUs,
slowly on TPUs, and on GPUs with sums whose order changes from run to run.
"""

from collections.abc import Iterator
from functools import partial
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxnn.kernels.dtypes import widened
from jaxnn.kernels.lowering.fusion import materialized
from jaxnn.kernels.lowering.linear_map import with_transpose
from jaxnn.kernels.resampling.taps import Array, Taps, transposed, without_zeros

#: By axis, in the order in which the axes are resampled.
Tables = dict[int, Taps]
#: Up to this many taps are unrolled; more of them become a loop.
_UNROLLED = 16
#: Axes are resampled in one loop while an output is a sum of at most this many values; beyond, the sums along
#: the first axis are stored, not computed anew for each output that reads them. Compared with 4 and 36 (×1.5)
#: and 64 (×2), forward and backward, 8 to 64 pixels wide, on AVX-512: 0.8 to 1.1 of the time of 4, and
#: two thirds of that of 36 for cubic of 16×14×14×128.
_MOST_LOADS = 16
#: The same for fewer channels than ``_FEW_CHANNELS``: XLA does not vectorise a loop over these, and a sum
#: that is computed twice costs twice as much.
_MOST_LOADS_OF_FEW, _FEW_CHANNELS = 4, 8


def weighted_sum(x: jax.Array, tables: Tables) -> jax.Array:
    """y[i] = Σₜ weight[t, i] · x[source[t, i]] along each axis, with a transpose that gathers."""
    back = {axis: transposed(taps, x.shape[axis]) for axis, taps in reversed(tables.items())}
    sizes = {axis: taps.source.shape[1] for axis, taps in tables.items()}
    return with_transpose(x, sizes, partial(gathered, tables=tables), partial(gathered, tables=back))


def gathered(x: jax.Array, tables: Tables) -> jax.Array:
    """The same sums, with the transpose that JAX derives; in float32 at least, and rounded once."""
    dtype = x.dtype
    if any(len(taps.source) > 1 for taps in tables.values()):
        x = widened(x)  # else nothing is summed
    most = _MOST_LOADS if x.shape[-1] >= _FEW_CHANNELS else _MOST_LOADS_OF_FEW
    for axes in _loops(tables, most):
        # XLA moves the axis of a gather to the front. Stored here, it is moved back while the values are
        # computed, and not by a copy of them.
        x = materialized(x)
        if len(axes) == 1:
            x = _rows_along(x, axes[0], tables[axes[0]])
        else:
            for axis in axes:
                x = _along(x, axis, tables[axis])
    return materialized(x.astype(dtype))


def _loops(tables: Tables, most: int) -> Iterator[list[int]]:
    """The axes that are resampled in one loop, of at most so many loads per output, loop by loop."""
    axes: list[int] = []
    loads = 1
    for axis, taps in tables.items():
        loads *= len(taps.source)
        if axes and loads > most:
            yield axes
            axes, loads = [], len(taps.source)
        axes.append(axis)
    yield axes


def _rows_along(x: jax.Array, axis: int, taps: Taps) -> jax.Array:
    """The sums along one axis, the axes after it joined: a loop over few channels is not vectorised."""
    after = x.shape[axis + 1 :]
    if len(after) == 1 or any(jax.typeof(x).sharding.spec[axis + 1 :]):
        return _along(x, axis, taps)
    rows = lax.reshape(x, (*x.shape[: axis + 1], prod(after)))
    return lax.reshape(_along(rows, axis, taps), (*x.shape[:axis], taps.source.shape[1], *after))


def _along(x: jax.Array, axis: int, taps: Taps) -> jax.Array:
    along = [1] * x.ndim
    along[axis] = -1

    def term(source: Array | jax.Array, weight: Array | jax.Array) -> jax.Array:
        values = take(x, axis, source)
        if isinstance(weight, np.ndarray) and (weight == 1).all():
            return values
        return values * jnp.asarray(weight, x.dtype).reshape(along)

    def where_used(values: jax.Array, used: ArrayLike) -> jax.Array:
        return jnp.where(jnp.asarray(used).reshape(along), values, jnp.zeros_like(values))

    if len(taps.source) <= _UNROLLED:
        terms = list(map(term, *without_zeros(taps)))
        total, used = sum(terms[1:], terms[0]), taps.weight.any(axis=0)
        return total if used.all() else where_used(total, used)
    sources, weights = jnp.asarray(taps.source, jnp.int32), jnp.asarray(taps.weight, x.dtype)

    def add(t: jax.Array, so_far: jax.Array) -> jax.Array:
        return so_far + where_used(term(sources[t], weights[t]), weights[t] != 0)

    first = where_used(term(taps.source[0], taps.weight[0]), taps.weight[0] != 0)
    return lax.fori_loop(1, len(taps.source), add, first)


def take(x: jax.Array, axis: int, index: Array | jax.Array) -> jax.Array:
    """The values of ``x`` at these positions along ``axis``."""
    return jnp.take(x, jnp.asarray(index, jnp.int32), axis=axis, mode="clip")
