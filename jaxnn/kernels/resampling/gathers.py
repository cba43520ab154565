"""Weighted sums of gathered values along one axis.

Their transpose gathers as well, on every platform. The one that JAX derives scatters: serially on CPUs,
slowly on TPUs, and on GPUs with sums whose order changes from run to run.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.kernels.lowering.fusion import materialized
from jaxnn.kernels.lowering.linear_map import with_transpose
from jaxnn.kernels.resampling.taps import Array, Taps, transposed

#: Up to this many taps are unrolled; more of them become a loop.
_UNROLLED = 16


def weighted_sum(x: jax.Array, axis: int, taps: Taps) -> jax.Array:
    """y[i] = Σₜ weight[t, i] · x[source[t, i]] along ``axis``, with a transpose that gathers."""
    back = transposed(taps, x.shape[axis])
    return with_transpose(
        x,
        {axis: taps.source.shape[1]},
        lambda v: gathered(v, axis, taps),
        lambda v: gathered(v, axis, back),
    )


def gathered(x: jax.Array, axis: int, taps: Taps) -> jax.Array:
    """The same sum, with the transpose that JAX derives."""
    along = [1] * x.ndim
    along[axis] = -1
    # XLA moves the axis of a gather to the front. Stored here, it is moved back while the values are
    # computed, and not by a copy of them.
    x = materialized(x)

    def term(source: Array | jax.Array, weight: Array | jax.Array, *, some: bool) -> jax.Array:
        weight = jnp.asarray(weight, x.dtype).reshape(along)
        values = take(x, axis, source) * weight
        # A weight of zero must not multiply: the value may be NaN or infinite.
        return jnp.where(weight != 0, values, jnp.zeros_like(values)) if some else values

    if len(taps.source) <= _UNROLLED:
        rows = [row for row in zip(*taps, strict=True) if row[1].any()]
        terms = [term(source, weight, some=not weight.all()) for source, weight in rows]
        return materialized(sum(terms[1:], terms[0]))
    sources, weights = jnp.asarray(taps.source, jnp.int32), jnp.asarray(taps.weight, x.dtype)

    def add(t: jax.Array, so_far: jax.Array) -> jax.Array:
        return so_far + term(sources[t], weights[t], some=True)

    first = term(taps.source[0], taps.weight[0], some=True)
    return lax.fori_loop(1, len(taps.source), add, first)


def take(x: jax.Array, axis: int, index: Array | jax.Array) -> jax.Array:
    """The values of ``x`` at these positions along ``axis``."""
    return jnp.take(x, jnp.asarray(index, jnp.int32), axis=axis, mode="clip")
