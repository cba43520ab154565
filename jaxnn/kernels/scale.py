"""Lengths, without overflow or underflow: values are brought near 1 before they are squared."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def scale_of(x: jax.Array, axes: Sequence[int]) -> jax.Array:
    """A power of two near the largest magnitude over ``axes``, which are kept with size 1.

    Divided by it, values are at most 3 and keep every digit; 1 where the largest is 0, below the normal
    numbers or not finite. It has no derivative: what is computed with it should not depend on it.
    """
    largest = jnp.max(jnp.abs(lax.stop_gradient(x)), axis=axes, keepdims=True, initial=0)
    return power_of_two(largest)


def power_of_two(size: jax.Array) -> jax.Array:
    """A power of two between a third of ``size`` and ``size``; 1 for 0, subnormals, ∞ and NaN."""
    info = np.finfo(size.dtype)
    half = size / 2  # the next power of two may be beyond the largest float
    usual = (half >= info.tiny) & jnp.isfinite(size)
    rounded = lax.reduce_precision(half, exponent_bits=info.nexp, mantissa_bits=0)
    return jnp.where(usual, rounded, jnp.ones_like(size))


def length(x: jax.Array, axes: Sequence[int]) -> jax.Array:
    """√Σx² over ``axes``, which are kept with size 1; its derivative is 0 where all is 0."""
    scale = scale_of(x, axes)
    squares = jnp.sum(lax.square(x / scale), axis=axes, keepdims=True)
    nothing = squares == 0
    root = jnp.sqrt(jnp.where(nothing, jnp.ones_like(squares), squares))
    return jnp.where(nothing, jnp.zeros_like(root), scale * root)
