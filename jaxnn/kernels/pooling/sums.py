"""The sum of each window, padding adding 0."""

from functools import reduce

import jax
import jax.numpy as jnp

from jaxnn.kernels.lowering.fusion import materialized
from jaxnn.kernels.pooling import plain
from jaxnn.kernels.pooling.windows import Windows, few, slices

Axes = tuple[tuple[int, Windows], ...]


def by_axis(x: jax.Array, axes: Axes) -> jax.Array:
    """One spatial axis after the other, the last one first."""
    x = materialized(x)
    for axis, windows in reversed(axes):
        x = _along(materialized(x) if windows.overlap else x, axis, windows)
    return x


def _along(x: jax.Array, axis: int, windows: Windows) -> jax.Array:
    if few(windows):
        return reduce(jnp.add, slices(x, {axis: windows}))
    return plain.sums(x, ((axis, windows),))
