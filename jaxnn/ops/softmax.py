"""Vectors that sum to 1: softmax, softmin, sparsemax."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxnn.kernels import softmax as softmax_kernel
from jaxnn.kernels.dtypes import accumulator
from jaxnn.ops import checks
from jaxnn.ops.checks import floating


def softmax(
    x: ArrayLike,
    axis: int | Sequence[int] | None = -1,
    where: ArrayLike | None = None,
    *,
    implementation: str | None = None,
) -> jax.Array:
    """``jax.nn.softmax``: any shape → the same shape. yᵢ = exp(xᵢ) / Σⱼ exp(xⱼ).

    Args:
      x: floating-point.
      axis: the axis, or axes, that sum to 1; None for all.
      where: booleans, broadcast to ``x``: what is False is left out of the sum and gives 0; a row that is all
        False gives zeros.
      implementation: "lax" has ``jax.nn.softmax``'s derivative; "rows", along the last axis and without
        ``where``, one that reads the values, materialized; None chooses by platform and sizes.

    >>> import jax.numpy as jnp, jaxnn as nn, numpy as np
    >>> print(np.asarray(nn.ops.softmax(jnp.array([0.0, 1.0, -1e4]))).round(3))
    [0.269 0.731 0.   ]
    """
    x = floating("softmax", x)
    axes = None if axis is None else checks.axes("softmax", axis, x.shape, "axis")
    settings = softmax_kernel.Settings(implementation)
    softmax_kernel.check_implementation("softmax", x, settings)
    if where is None and axes == (x.ndim - 1,) and softmax_kernel.has_forms(x, implementation):
        return softmax_kernel.softmax(x, settings)
    if implementation not in (None, "lax"):
        rule = "the last axis alone and no where"
        raise ValueError(f"softmax: implementation {implementation!r} needs {rule}")
    with jax.debug_infs(False):  # its maximum begins at −∞
        y: jax.Array = jax.nn.softmax(x, axes, _kept("softmax", where, x))
    return y


def _kept(op: str, where: ArrayLike | None, x: jax.Array) -> jax.Array | None:
    """``where`` as an array; raises unless it is boolean and can be broadcast to ``x``."""
    if where is None:
        return None
    mask = checks.array(op, where, "where")
    if mask.dtype != jnp.bool_:
        raise TypeError(f"{op}: where must be boolean, got {mask.dtype}")
    sizes = zip(reversed(mask.shape), reversed(x.shape), strict=False)
    if mask.ndim > x.ndim or not all(size in (1, whole) for size, whole in sizes):
        raise ValueError(f"{op}: where must fit x {x.shape}, got shape {mask.shape}")
    return mask


def softmin(x: ArrayLike, axis: int | Sequence[int] = -1, where: ArrayLike | None = None) -> jax.Array:
    """Softmax of −x: any shape → the same shape. yᵢ = exp(−xᵢ) / Σⱼ exp(−xⱼ).

    Args:
      x: floating-point.
      axis: the axis, or axes, that sum to 1.
      where: booleans, broadcast to ``x``: what is False is left out of the sum and gives 0; a row that is all
        False gives zeros.

    Raises:
      TypeError: for integers.

    >>> import jax.numpy as jnp, jaxnn as nn, numpy as np
    >>> print(np.asarray(nn.ops.softmin(jnp.array([0.0, 1.0, 1e4]))).round(3))
    [0.731 0.269 0.   ]
    """
    x = floating("softmin", x)
    axes = checks.axes("softmin", axis, x.shape, "axis")
    y: jax.Array = softmax(-x, axes, _kept("softmin", where, x))
    return y


def sparsemax(x: ArrayLike, axis: int = -1) -> jax.Array:
    """The nearest probability vector: any shape → the same shape. Like softmax, but with exact zeros.

    y = argmin ‖p − x‖² over p ≥ 0, Σ p = 1, which is yᵢ = max(xᵢ − τ, 0) with the τ that makes the sum 1.
    With S the places where y > 0, the derivative is ∂yᵢ/∂xⱼ = [i = j] − 1/|S| for i and j in S, else 0.

    Args:
      x: floating-point.
      axis: the axis that sums to 1.

    Raises:
      TypeError: for integers.
      ValueError: for an axis that is not there.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> print(nn.ops.sparsemax(jnp.array([1.0, 0.75, -1.0])))
    [0.625 0.375 0.   ]

    Martins and Astudillo, "From softmax to sparsemax", 2016.
    """
    x = floating("sparsemax", x)
    axis = checks.axis("sparsemax", axis, x.shape)
    # Adding a constant to all values changes nothing; with the largest at 0 the sums lose no digits.
    wide = x.astype(accumulator(x.dtype))
    z = wide - lax.stop_gradient(jnp.max(wide, axis, keepdims=True))
    fixed = lax.stop_gradient(z)
    falling = jnp.sort(fixed, axis, descending=True)
    rank = lax.broadcasted_iota(z.dtype, z.shape, axis) + 1
    inside = 1 + rank * falling > jnp.cumsum(falling, axis)
    least = jnp.min(falling, axis, keepdims=True, initial=jnp.inf, where=inside)
    # Which places are in S is locally constant; given S, τ is linear in x, and so the derivative is right.
    zero, outside = jnp.zeros_like(z), fixed < least
    size = jnp.sum((~outside).astype(z.dtype), axis, keepdims=True)
    tau = (jnp.sum(jnp.where(outside, zero, z), axis, keepdims=True) - 1) / size
    return jnp.where(outside, zero, z - tau).astype(x.dtype)
