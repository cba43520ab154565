"""Checks the arguments that all norms share: epsilon, and arrays that span some axes of the input."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxnn.kernels.dtypes import accumulator, widened
from jaxnn.kernels.lowering.fusion import materialized_in_reverse
from jaxnn.kernels.reduction.cuts import Axes
from jaxnn.kernels.reduction.sums import broadcast
from jaxnn.ops.checks import floating, number, refusal


def positive(op: str, epsilon: float, dtype: jnp.dtype | None = None) -> float:
    """``epsilon`` as a plain float; raises unless it is positive and finite.

    With ``dtype`` it must also be a normal number of the dtype that ``dtype`` is computed in.
    """
    plain = number(op, "epsilon", epsilon, above=0)
    if dtype is not None and plain < (least := np.finfo(wide := accumulator(dtype)).tiny):
        rule = f"at least {least:.4g}, the smallest normal number of {wide} (less counts as 0)"
        raise ValueError(refusal(op, "epsilon", rule, epsilon))
    return plain


def fitted(op: str, name: str, values: ArrayLike, x: jax.Array, axes: Axes) -> jax.Array:
    """``values``, which span the ``axes`` of ``x``, ready to be broadcast against it."""
    array = floating(op, values, name)
    expected = tuple(x.shape[axis] for axis in axes)
    if array.shape != expected:
        raise ValueError(f"{op}: {name} must have shape {expected} for x {x.shape}, got shape {array.shape}")
    if array.dtype not in (x.dtype, accumulator(x.dtype)):
        raise TypeError(_dtype_rule(op, name, array, x))
    return lax.expand_dims(widened(array), [axis for axis in range(x.ndim) if axis not in axes])


def trailing(op: str, name: str, values: ArrayLike, x: jax.Array) -> jax.Array:
    """``values``, which fit the last axes of ``x``, with as many axes as ``x``."""
    array = floating(op, values, name)
    sizes = x.shape[x.ndim - array.ndim :] if array.ndim <= x.ndim else None
    if sizes is None or any(size not in (1, wanted) for size, wanted in zip(array.shape, sizes, strict=True)):
        raise ValueError(f"{op}: {name} must fit the last axes of x {x.shape}, got shape {array.shape}")
    if array.dtype not in (x.dtype, accumulator(x.dtype)):
        raise TypeError(_dtype_rule(op, name, array, x))
    return lax.expand_dims(widened(array), range(x.ndim - array.ndim))


def _dtype_rule(op: str, name: str, array: jax.Array, x: jax.Array) -> str:
    wide = accumulator(x.dtype)
    other = "" if wide == x.dtype else f", or {wide}, which it is computed in"
    return f"{op}: {name} must be {x.dtype}, as x is{other}, got {array.dtype}; cast one of them"


def finished(
    op: str, x: jax.Array, y: jax.Array, axes: Axes, scale: ArrayLike | None, bias: ArrayLike | None
) -> jax.Array:
    """y · scale + bias, where scale and bias span ``axes``, in the dtype of ``x``."""
    others = tuple(axis for axis in range(x.ndim) if axis not in axes)
    if scale is not None:
        y = y * broadcast(fitted(op, "scale", scale, x, axes), others, y)
    if bias is not None:
        y = y + broadcast(fitted(op, "bias", bias, x, axes), others, y)
    return materialized_in_reverse(y.astype(x.dtype))
