"""Sums of blocks, and copies to blocks, which are their transpose."""

from collections.abc import Mapping
from functools import reduce

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.kernels.lowering.linear_map import with_transpose
from jaxnn.kernels.padding import padded
from jaxnn.kernels.pooling.windows import Windows, slices


def block_sums(x: jax.Array, axes: Mapping[int, Windows]) -> jax.Array:
    """The sums of windows that lie side by side, by axis; padding adds 0.

    Its transpose copies.
    """
    sizes = {axis: w.count for axis, w in axes.items()}
    return with_transpose(x, sizes, lambda v: _sums(v, axes), lambda v: _copies(v, axes))


def _sums(x: jax.Array, axes: Mapping[int, Windows]) -> jax.Array:
    """A slice per place in a block: XLA does not vectorise a sum over short axes."""
    return reduce(jnp.add, slices(x, axes))


def _copies(y: jax.Array, axes: Mapping[int, Windows]) -> jax.Array:
    """The transpose of ``_sums``: without what lies in the padding, and with zeros where no window reads."""
    x = copies(y, {axis: w.window for axis, w in axes.items()})
    return padded(x, {axis: (-w.low, w.size + w.low - w.count * w.window) for axis, w in axes.items()})


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
    """The sums of blocks of ``blocks[axis]`` values along each axis; a whole number of blocks fill it."""
    return _sums(
        x, {axis: Windows(x.shape[axis], n, n, 1, 0, 0, x.shape[axis] // n) for axis, n in blocks.items()}
    )
