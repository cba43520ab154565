"""Max pooling that also returns where each maximum was, and its inverse, which puts values back there.

The inverse has one form, a scatter of numbers, for which value wins a place must not depend on the platform.
"""

from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxnn.kernels.pooling.forms import Settings
from jaxnn.kernels.pooling.primitives import check_firsts, firsts, taken
from jaxnn.kernels.pooling.windows import along
from jaxnn.ops import checks
from jaxnn.ops.checks import ordered
from jaxnn.ops.pool_windows import pool_windows
from jaxnn.ops.windows import Ints, Padding, per_axis


def max_pool_with_indices(
    x: ArrayLike,
    window: Ints,
    *,
    strides: Ints | None = None,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    ceil_mode: bool = False,
    implementation: str | None = None,
) -> tuple[jax.Array, jax.Array]:
    """``max_pool`` and where each maximum was: ``(N, *space, C) →`` two of ``(N, *out, C)``.

    The index is int32 and counts the positions of the unpadded spatial axes in row-major order, so h·W + w
    for two axes (as in PyTorch; TensorFlow counts batch and channels too). At a tie it is the first, and a
    NaN counts as larger than every number. The maxima are differentiable as in ``max_pool``; the settings and
    errors are the same too.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> x = jnp.asarray([[1.0, 5.0, 2.0], [7.0, 5.0, 5.0]]).reshape(1, 2, 3, 1)
    >>> y, indices = nn.ops.max_pool_with_indices(x, 2, strides=1)
    >>> y.ravel().tolist(), indices.ravel().tolist()
    ([7.0, 5.0], [3, 1])
    """
    array = ordered("max_pool_with_indices", x)
    axes = pool_windows("max_pool_with_indices", array, window, strides, padding, dilation, ceil_mode)
    settings = Settings(tuple(axes.items()), implementation=implementation)
    check_firsts("max_pool_with_indices", array, settings)
    sizes = array.shape[1:-1]
    positions = along(np.arange(prod(sizes)).reshape(sizes), tuple(axes), array, jnp.int32)
    y, taps = firsts(array, settings)
    return y, taken(positions, taps, settings)


def max_unpool(x: ArrayLike, indices: ArrayLike, output_size: Ints) -> jax.Array:
    """Puts each value back where it was: ``(N, *space, C) → (N, *output_size, C)``, 0 elsewhere.

    ``y[n, indices[n, i, c], c] = x[n, i, c]``, with indices as ``max_pool_with_indices`` gives them. The
    result of pooling does not determine the size of its input, so that is an argument (PyTorch takes the
    window and strides, which leave it ambiguous, and ``output_size`` to decide). Where several values go to
    one place, the last in row-major order stays, and it alone has a derivative; after overlapping windows
    they are all equal. An index outside the output is left out. Every dtype is kept.

    Args:
      x: the pooled values, ``(N, *space, C)``.
      indices: where to put them: integers of the shape of ``x``, flat over the spatial axes of the output.
      output_size: the spatial size of the output: an int (for every axis), or one per axis.

    Raises:
      ValueError: wrong rank, ``indices`` of another shape than ``x``, an ``output_size`` below 1.
      TypeError: ``indices`` that are not integers.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> x = jnp.asarray([3, 1, 4, 1, 5]).reshape(1, 5, 1)
    >>> nn.ops.max_unpool(*nn.ops.max_pool_with_indices(x, 2), 5).ravel().tolist()
    [3, 0, 4, 0, 0]
    """
    values = checks.array("max_unpool", x)
    places = checks.array("max_unpool", indices, "indices")
    sizes = checks.spatial("max_unpool", values)
    out = per_axis("max_unpool", "output_size", output_size, len(sizes))
    if not jnp.issubdtype(places.dtype, jnp.integer):
        raise TypeError(f"max_unpool: indices must be integers, got {places.dtype}")
    if places.shape != values.shape:
        raise ValueError(
            f"max_unpool: indices must have the shape of x, {values.shape}, got shape {places.shape}"
        )
    batch, channels = values.shape[0], values.shape[-1]
    flat = (batch, prod(sizes), channels)
    placed = _place(values.reshape(flat), places.reshape(flat), prod(out))
    return placed.reshape(batch, *out, channels)


def _place(values: jax.Array, places: jax.Array, size: int) -> jax.Array:
    """(N, P, C) → (N, size, C). Which value wins a place is decided on integers, the same on every device."""
    numbers = along(np.arange(values.shape[1]), (1,), values, jnp.int32)
    outside = (places < 0) | (places >= size)
    places = jnp.where(outside, jnp.full_like(places, size), places)
    nobody = jnp.repeat(jnp.full_like(numbers[:, :1], -1), size, axis=1)

    def last_at(nobody: jax.Array, places: jax.Array, numbers: jax.Array) -> jax.Array:
        return nobody.at[places].max(numbers, mode="drop")

    winner = jax.vmap(jax.vmap(last_at, 1, 1))(nobody, places, numbers)
    taken = jnp.take_along_axis(values, jnp.maximum(winner, 0), axis=1)
    return jnp.where(winner >= 0, taken, jnp.zeros_like(taken))
