"""Copies to blocks and sums of blocks: each the other's transpose."""

from functools import reduce
from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.kernels.lowering.linear_map import with_transpose
from jaxnn.kernels.pooling.windows import MOST_SLICES, Windows, slices


def repeated(x: jax.Array, times: dict[int, int]) -> jax.Array:
    """Each value repeated ``times[axis]`` times along each axis. The transpose of ``block_sums``."""
    if not jnp.issubdtype(x.dtype, jnp.floating) or prod(times.values()) > MOST_SLICES:
        return _copies(x, times)
    sizes = {axis: x.shape[axis] * n for axis, n in times.items()}
    return with_transpose(x, sizes, lambda v: _copies(v, times), lambda v: _sums(v, times))


def block_sums(x: jax.Array, blocks: dict[int, int]) -> jax.Array:
    """The sums of blocks of ``blocks[axis]`` values along each axis; a whole number of blocks fill it."""
    sizes = {axis: x.shape[axis] // n for axis, n in blocks.items()}
    return with_transpose(x, sizes, lambda v: _sums(v, blocks), lambda v: _copies(v, blocks))


def _copies(x: jax.Array, times: dict[int, int]) -> jax.Array:
    y = lax.expand_dims(x, [axis + i + 1 for i, axis in enumerate(times)])
    shape = list(y.shape)
    for i, axis in enumerate(times):
        shape[axis + i + 1] = times[axis]
    y = jnp.broadcast_to(y, shape)
    # One axis after the other: explicit sharding supports no reshape of several.
    for axis in times:
        y = lax.reshape(y, (*y.shape[:axis], y.shape[axis] * y.shape[axis + 1], *y.shape[axis + 2 :]))
    return y


def _sums(x: jax.Array, blocks: dict[int, int]) -> jax.Array:
    """One slice per place in a block: XLA does not vectorise a sum over short axes."""
    axes = {axis: Windows(x.shape[axis], n, n, 1, 0, 0, x.shape[axis] // n) for axis, n in blocks.items()}
    return reduce(jnp.add, slices(x, axes, jnp.zeros((), x.dtype)))
