"""Trading channels for pixels and back."""

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
      scale: the factors r, at least 1: one integer for all spatial axes, or one an axis.

    Raises:
      ValueError: if the product of the factors does not divide the channels, or a factor is below 1.
      TypeError: if a factor is no integer.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> nn.ops.pixel_shuffle(jnp.ones((1, 8, 8, 12)), 2).shape
    (1, 16, 16, 3)

    Shi et al., "Real-time single image and video super-resolution", 2016 (arXiv:1609.05158).
    """
    array = jnp.asarray(x)
    rank = len(checks.spatial("pixel_shuffle", array))
    factors = per_axis("pixel_shuffle", "scale", scale, rank)
    if array.shape[-1] % prod(factors):
        raise ValueError(
            f"pixel_shuffle: the channels must be a multiple of {prod(factors)} (scale {scale!r} on {rank} "
            f"spatial axes), got {array.shape[-1]}"
        )
    for axis, factor in reversed([*enumerate(factors, start=1)]):
        array = _spread(array, axis, factor)
    return array


def pixel_unshuffle(x: ArrayLike, scale: Ints) -> jax.Array:
    """Folds blocks of pixels into channels: (N, *space, C) → (N, *(space / r), C·r₁·r₂…).

    The inverse of ``pixel_shuffle`` with the same ``scale``: in two dimensions

        y[n, h, w, (c·r + i)·s + j] = x[n, h·r + i, w·s + j, c]

    Every dtype is kept.

    Args:
      x: (N, *space, channels).
      scale: the factors r, at least 1: one integer for all spatial axes, or one an axis.

    Raises:
      ValueError: if a factor does not divide the size of its axis, or is below 1.
      TypeError: if a factor is no integer.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> nn.ops.pixel_unshuffle(jnp.ones((1, 16, 16, 3)), 2).shape
    (1, 8, 8, 12)
    """
    array = jnp.asarray(x)
    space = checks.spatial("pixel_unshuffle", array)
    factors = per_axis("pixel_unshuffle", "scale", scale, len(space))
    if any(size % factor for size, factor in zip(space, factors, strict=True)):
        raise ValueError(f"pixel_unshuffle: scale must divide the spatial sizes {space}, got {scale!r}")
    for axis, factor in enumerate(factors, start=1):
        array = _fold(array, axis, factor)
    return array


# One axis at a time: arrays on an explicit mesh refuse some reshapes that split or merge several at once.


def _spread(x: jax.Array, axis: int, factor: int) -> jax.Array:
    """(…, L, …, C·r) → (…, L·r, …, C): the fastest part of the channels becomes the offset along ``axis``."""
    if factor == 1:
        return x
    *front, channels = x.shape
    split = lax.reshape(x, (*front, channels // factor, factor))
    front[axis] *= factor
    return lax.reshape(jnp.moveaxis(split, -1, axis + 1), (*front, channels // factor))


def _fold(x: jax.Array, axis: int, factor: int) -> jax.Array:
    """(…, L·r, …, C) → (…, L, …, C·r): the inverse of ``_spread``."""
    if factor == 1:
        return x
    *front, channels = x.shape
    front[axis] //= factor
    split = lax.reshape(x, (*front[: axis + 1], factor, *front[axis + 1 :], channels))
    return lax.reshape(jnp.moveaxis(split, axis + 1, -1), (*front, channels * factor))
