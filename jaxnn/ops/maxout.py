"""Maxout: the largest of each group of channels."""

from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxnn.kernels.dtypes import accumulator
from jaxnn.kernels.lowering.fusion import materialized
from jaxnn.kernels.reduction.extremes import SHORT_AXIS, extreme
from jaxnn.kernels.reduction.sums import sum_over
from jaxnn.ops import checks
from jaxnn.ops.checks import floating


def maxout(x: ArrayLike, pieces: int, axis: int = -1) -> jax.Array:
    """The largest of each group of ``pieces`` channels: (..., C) → (..., C // pieces).

    y[c] = max of x[c · pieces + j] over 0 ≤ j < pieces: the pieces of one output are adjacent. Values
    that tie for the maximum share its gradient evenly.

    Args:
      x: floating-point.
      pieces: the number of values per output, ≥ 1; must divide C.
      axis: the axis of the channels.

    Raises:
      TypeError: for integers.
      ValueError: if ``pieces`` is below 1 or does not divide C, or for an axis that is not there.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> print(nn.ops.maxout(jnp.array([[1.0, 5.0, 4.0, 2.0]]), 2))
    [[5. 4.]]

    Goodfellow et al., "Maxout networks", 2013.
    """
    x = floating("maxout", x)
    axis = checks.axis("maxout", axis, x.shape)
    pieces = checks.integer("maxout", "pieces", pieces, least=1)
    if x.shape[axis] % pieces:
        raise ValueError(
            f"maxout: pieces must be at least 1 and divide the channels, got {pieces} for {x.shape[axis]} "
            "channels"
        )
    split = (*x.shape[:axis], x.shape[axis] // pieces, pieces, *x.shape[axis + 1 :])
    y: jax.Array = _largest(axis + 1, jnp.reshape(x, split))
    return y


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _largest(axis: int, x: jax.Array) -> jax.Array:
    """The largest along a short axis."""
    return lax.squeeze(extreme(x, (axis,)), (axis,))


@_largest.defjvp
def _largest_jvp(axis: int, primals: Any, tangents: Any) -> Any:
    (x,), (tangent,) = primals, tangents
    y = materialized(_largest(axis, x))
    taken = x == jnp.expand_dims(y, axis)
    wide = accumulator(x.dtype)
    ties = materialized(_sum(axis, taken.astype(wide)))
    # A sum instead of slices: its transpose is a copy, not pads.
    of_taken = jnp.sum(jnp.where(taken, tangent, jnp.zeros_like(tangent)), axis, dtype=wide)
    return y, (materialized(of_taken) / ties).astype(x.dtype)


def _sum(axis: int, x: jax.Array) -> jax.Array:
    """The sum along a short axis: of few values by elementwise operations, fast on every platform."""
    if x.shape[axis] > SHORT_AXIS:
        return lax.squeeze(sum_over(x, (axis,)), (axis,))
    return reduce(lax.add, (lax.index_in_dim(x, i, axis, keepdims=False) for i in range(x.shape[axis])))
