"""One query per head, read from a cache: keys and values stand head by head, (N, K, S, D).

So both products are plain ones: nothing of the cache is transposed or copied. Memory is that of S scores per
head. JAX derives it.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType

from jaxnn.kernels.dtypes import accumulator
from jaxnn.kernels.reduction.extremes import extreme
from jaxnn.kernels.reduction.sums import sum_over


def one_query(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    position: jax.Array,
    key_lengths: jax.Array,
    bias: jax.Array | None,
    left: int | None,
    scale: float,
) -> jax.Array:
    """What a query at ``position`` reads: (N, 1, H, D), (N, K, S, D), (N, K, S, D) → (N, 1, H, D).

    Args:
      q: the query.
      k: keys, finite from ``key_lengths`` on.
      v: values, likewise.
      position: () or (N,), the place of the query among the keys.
      key_lengths: () or (N,), how many keys there are.
      bias: (1 or N, 1 or H, 1, S), added to the scores; None for none.
      left: how many keys before its own place the query reads; None for all.
      scale: the factor of the scores.
    """
    arrays = (q, k, v, position, key_lengths, *(() if bias is None else (bias,)))

    def run(*arrays: jax.Array) -> jax.Array:
        return _one_query(*arrays, left=left, scale=scale)

    sharding = jax.typeof(q).sharding
    if AxisType.Explicit not in sharding.mesh.axis_types:
        return run(*arrays)
    # Under explicit sharding all in between is left to the compiler.
    result: jax.Array = jax.sharding.auto_axes(run, out_sharding=sharding.spec)(*arrays)
    return result


def _one_query(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    position: jax.Array,
    key_lengths: jax.Array,
    bias: jax.Array | None = None,
    *,
    left: int | None,
    scale: float,
) -> jax.Array:
    n, _, heads, features = q.shape
    wide = jnp.dtype(accumulator(q.dtype))
    first = jnp.zeros_like(position)
    if left is not None and isinstance(k.shape[2], int) and left + 1 < k.shape[2]:
        # The query stands before the end of the cache, so that this start is never moved.
        first = jnp.maximum(position - left, 0)
        k, v = (_window(a, first, left + 1) for a in (k, v))
        bias = bias if bias is None or bias.shape[3] == 1 else _window(bias, first, left + 1, axis=3)
    split = q.reshape(n, k.shape[1], heads // k.shape[1], features)
    scores = scale * jnp.einsum("nkrd,nksd->nkrs", split, k, preferred_element_type=wide)
    if bias is not None:
        shape = *bias.shape[:1], *((1, 1) if bias.shape[1] == 1 else split.shape[1:3]), bias.shape[3]
        scores = scores + bias.astype(wide).reshape(shape)
    place = jnp.expand_dims(jnp.arange(k.shape[2], dtype=jnp.int32), (0, 1, 2))
    read = place < jnp.expand_dims(jnp.atleast_1d(key_lengths - first), (1, 2, 3))
    lowest = np.finfo(wide).min  # not −∞: that would be the step to blame under jax.debug_infs
    largest = extreme(lax.stop_gradient(jnp.where(read, scores, lowest)), (3,))
    # The exponential is last: XLA would select once more for each of the two that read the weights.
    weights = jnp.exp(jnp.where(read, scores - largest, lowest))
    total = sum_over(weights, (3,))
    y = jnp.einsum("nkrs,nksd->nkrd", weights.astype(v.dtype), v, preferred_element_type=wide)
    y = y / jnp.where(total == 0, jnp.ones_like(total), total)
    return y.astype(q.dtype).reshape(q.shape)


def _window(a: jax.Array, first: jax.Array, size: int, axis: int = 2) -> jax.Array:
    """``size`` entries of ``axis`` from ``first`` on, () or (N,)."""
    if first.ndim == 0:
        return lax.dynamic_slice_in_dim(a, first, size, axis)

    def of_one(a: jax.Array, first: Any) -> jax.Array:
        return lax.dynamic_slice_in_dim(a, first, size, axis - 1)

    return jax.vmap(of_one)(jnp.broadcast_to(a, (first.shape[0], *a.shape[1:])), first)
