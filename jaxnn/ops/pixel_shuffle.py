"""Moving channels into pixels and back."""

from math import prod

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxnn.ops import checks
from jaxnn.ops.windows import Ints, per_axis


def pixel_shuffle(x: ArrayLike, scale: Ints) -> jax.Array:
    """Spreads channels over finer pixels: (N, *space, C·r₁·r₂…) → (N, *(space · r), C).

    In two dimensions, with factors r and s,

        y[n, h·r + i, w·s + j, c] = x[n, h, w, (c·r + i)·s + j]

    and likewise in one or three: of the input's channel index, the output channel is the slowest part and
    the offset along the last axis the fastest. That is PyTorch's order; ``depth_to_space`` of TensorFlow and
    Keras has the output channel as the fastest part. Every dtype is kept.

    Args:
      x: (N, *space, channels).
      scale: the factors r, at least 1: one integer for all spatial axes, or one per axis.

    Raises:
      ValueError: if the product of the factors does not divide the channels, or a factor is below 1.
      TypeError: if a factor is not an integer.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> nn.ops.pixel_shuffle(jnp.ones((1, 8, 8, 12)), 2).shape
    (1, 16, 16, 3)

    Shi et al., "Real-time single image and video super-resolution", 2016 (arXiv:1609.05158).
    """
    array = checks.array("pixel_shuffle", x)
    rank = len(checks.spatial("pixel_shuffle", array))
    factors = per_axis("pixel_shuffle", "scale", scale, rank)
    if array.shape[-1] % prod(factors):
        raise ValueError(
            f"pixel_shuffle: the channels must be a multiple of {prod(factors)} (scale {scale!r} on {rank} "
            f"spatial axes), got {array.shape[-1]}"
        )
    for factor in reversed(factors):
        array = _split(array, rank + 1, factor)
    between = [axis for i in range(1, rank + 1) for axis in (i, rank + 1 + i)]
    array = jnp.transpose(array, (0, *between, rank + 1))
    for axis in range(1, rank + 1):
        array = _merged(array, axis)
    return array


def pixel_unshuffle(x: ArrayLike, scale: Ints) -> jax.Array:
    """Folds blocks of pixels into channels: (N, *space, C) → (N, *(space / r), C·r₁·r₂…).

    The inverse of ``pixel_shuffle`` with the same ``scale``: in two dimensions

        y[n, h, w, (c·r + i)·s + j] = x[n, h·r + i, w·s + j, c]

    Every dtype is kept.

    Args:
      x: (N, *space, channels).
      scale: the factors r, at least 1: one integer for all spatial axes, or one per axis.

    Raises:
      ValueError: if a factor does not divide the size of its axis, or is below 1.
      TypeError: if a factor is not an integer.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> nn.ops.pixel_unshuffle(jnp.ones((1, 16, 16, 3)), 2).shape
    (1, 8, 8, 12)
    """
    array = checks.array("pixel_unshuffle", x)
    space = checks.spatial("pixel_unshuffle", array)
    factors = per_axis("pixel_unshuffle", "scale", scale, len(space))
    if any(size % factor for size, factor in zip(space, factors, strict=True)):
        raise ValueError(f"pixel_unshuffle: scale must divide the spatial sizes {space}, got {scale!r}")
    for axis, factor in reversed([*enumerate(factors, start=1)]):
        array = _split(array, axis, factor)
    rank = len(space)
    fine = [2 * i for i in range(1, rank + 1)]
    array = jnp.transpose(array, (0, *(axis - 1 for axis in fine), 2 * rank + 1, *fine))
    for _ in factors:
        array = _merged(array, rank + 1)
    return array


# One axis at a time: arrays on an explicit mesh refuse some reshapes that split or merge several at once.


def _split(x: jax.Array, axis: int, factor: int) -> jax.Array:
    """(…, L·r, …) → (…, L, r, …)."""
    return lax.reshape(x, (*x.shape[:axis], x.shape[axis] // factor, factor, *x.shape[axis + 1 :]))


def _merged(x: jax.Array, axis: int) -> jax.Array:
    """(…, L, r, …) → (…, L·r, …), the inverse of ``_split``."""
    return lax.reshape(x, (*x.shape[:axis], x.shape[axis] * x.shape[axis + 1], *x.shape[axis + 2 :]))
