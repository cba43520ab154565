"""Standardising: the mean and deviation of each feature from a data set, and scaling inputs by them."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxnn.kernels.dtypes import widened
from jaxnn.kernels.normalisation.moments import Scope, shifted
from jaxnn.kernels.scale import power_of_two
from jaxnn.ops.checks import axes as axes_of
from jaxnn.ops.checks import floating
from jaxnn.ops.norm_arguments import trailing


def feature_statistics(x: ArrayLike, axes: int | Sequence[int] = 0) -> tuple[jax.Array, jax.Array]:
    """Mean and deviation of each feature, for ``standardize``: (N, ...) → two arrays of ``feature_shape``.

    mean = E[x], deviation = √E[(x − mean)²], with E over ``axes``.

    Args:
      x: floating-point, with at least one value per feature.
      axes: the axes that share statistics, the batch axis among them: 0 for one pair per feature and place,
        ``(0, 1, 2)`` for one pair per channel of (N, H, W, C).

    Returns:
      ``(mean, deviation)``, each of the shape of one example with 1 in place of the sizes of ``axes``, in
      float32 at least. Where all values are equal the mean is that value and the deviation 0, exactly. The
      scale of the values does not matter, from the smallest normal number to the largest.

    Raises:
      TypeError: for integers.
      ValueError: for no values, or axes that are not there, come twice or leave out the batch axis.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> mean, deviation = nn.ops.feature_statistics(jnp.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> print(mean, deviation)
    [2. 5.] [1. 0.]
    """
    op = "feature_statistics"
    x = floating(op, x)
    feature_shape(op, x, axes)
    over = axes_of(op, axes, x.shape)
    if Scope(over).count(x) == 0:
        raise ValueError(f"{op}: x must hold at least one value per feature, got shape {x.shape}")
    statistics: tuple[jax.Array, jax.Array] = _statistics(x, over)
    return statistics


@partial(jax.jit, static_argnums=1)
def _statistics(x: jax.Array, over: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    least, most = (widened(extreme(x, over, keepdims=True)) for extreme in (jnp.min, jnp.max))
    scale = power_of_two(jnp.maximum(jnp.abs(least), jnp.abs(most)))
    found = shifted(widened(x) / scale, Scope(over))
    # Rounding of the mean would leave a constant feature with a tiny deviation, which then magnifies noise.
    constant = least == most
    mean = jnp.where(constant, least, found.mean * scale)
    deviation = jnp.where(constant, jnp.zeros_like(mean), jnp.sqrt(found.var) * scale)
    return lax.squeeze(mean, [0]), lax.squeeze(deviation, [0])


def feature_shape(op: str, x: Any, axes: int | Sequence[int]) -> tuple[int, ...]:
    """The shape of one example of ``x``, with 1 in place of the sizes of ``axes``; these hold the batch."""
    over = axes_of(op, axes, x.shape)
    if 0 not in over:
        raise ValueError(f"{op}: axes must hold the batch axis, axis 0, got {axes}")
    return tuple(1 if axis in over else size for axis, size in enumerate(x.shape))[1:]


def standardize(x: ArrayLike, mean: ArrayLike, deviation: ArrayLike) -> jax.Array:
    """Moves each feature to mean 0 and deviation 1 by given statistics: any shape → the same shape.

    y = (x − mean) / deviation, and x − mean where the deviation is 0: a feature that was constant when the
    statistics were taken gives 0, not a NaN.

    Args:
      x: floating-point; computed in float32 at least, returned in its own dtype.
      mean: fits the last axes of ``x``, as in NumPy: (C,) for one value per channel, (H, W, C) for one per
        place, or with axes of size 1. Of the dtype of ``x`` or of the one it is computed in.
      deviation: likewise, ≥ 0.

    Raises:
      TypeError: for integers, or statistics of another dtype than said.
      ValueError: for statistics that do not fit ``x``.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> print(nn.ops.standardize(jnp.array([[1.0, 5.0]]), jnp.array([2.0, 5.0]), jnp.array([1.0, 0.0])))
    [[-1.  0.]]
    """
    op = "standardize"
    x = floating(op, x)
    mean = trailing(op, "mean", mean, x)
    deviation = trailing(op, "deviation", deviation, x)
    divisor = jnp.where(deviation == 0, jnp.ones_like(deviation), deviation)
    return ((widened(x) - mean) / divisor).astype(x.dtype)
