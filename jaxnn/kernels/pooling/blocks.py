"""Sums of blocks, and copies to blocks, which are their transpose."""

from collections.abc import Mapping
from functools import reduce

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.kernels.lowering.linear_map import with_transpose
from jaxnn.kernels.pooling.windows import Windows, slices


def block_sums(x: jax.Array, blocks: Mapping[int, int]) -> jax.Array:
    """The sums of blocks of ``blocks[axis]`` values along each axis; a whole number of blocks fill it.

    Its transpose copies.
    """
    sizes = {axis: x.shape[axis] // n for axis, n in blocks.items()}
    return with_transpose(x, sizes, lambda v: sums(v, blocks), lambda v: copies(v, blocks))


def copies(x: jax.Array, times: Mapping[int, int]) -> jax.Array:
    """Each value repeated ``times[axis]`` times along each axis."""
    y = lax.expand_dims(x, [axis + i + 1 for i, axis in enumerate(times)])
    shape = list(y.shape)
    for i, axis in enumerate(times):
        shape[axis + i + 1] = times[axis]
    y = jnp.broadcast_to(y, shape)
    # One axis after the other: explicit sharding supports no reshape of several.
    for axis in times:
        y = lax.reshape(y, (*y.shape[:axis], y.shape[axis] * y.shape[axis + 1], *y.shape[axis + 2 :]))
    return y


def sums(x: jax.Array, blocks: Mapping[int, int]) -> jax.Array:
    """The sums of blocks, a slice per place in a block: XLA does not vectorise a sum over short axes."""
    axes = {axis: Windows(x.shape[axis], n, n, 1, 0, 0, x.shape[axis] // n) for axis, n in blocks.items()}
    return reduce(jnp.add, slices(x, axes))
