"""Pools whose window is the whole input, so that one value per channel is left."""

from math import prod

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnn.kernels.dtypes import accumulator
from jaxnn.kernels.pooling.forms import Settings
from jaxnn.kernels.pooling.primitives import check_extremes, extremes
from jaxnn.kernels.pooling.windows import Windows, neutral
from jaxnn.ops import checks
from jaxnn.ops.checks import ordered
from jaxnn.ops.sequences import checked_lengths, real_only, real_rows, real_steps


def global_max_pool(
    x: ArrayLike, *, implementation: str | None = None, lengths: ArrayLike | None = None
) -> jax.Array:
    """The largest value of each channel: ``(N, *space, C) → (N, C)``; the spatial axes are gone.

    y[n, c] = max_i x[n, i, c] over all positions i. NaN propagates; at a tie the derivative belongs to the
    first maximum in row-major order. Integers and booleans keep their dtype. A plain function of one array,
    so it can be used as a layer. ``implementation`` is as in ``max_pool``.

    With ``lengths``, (N,) integers, the first spatial axis is time, and only the steps of each sequence
    count; a sequence without steps gives 0. As a layer it takes ``(x, lengths)``.

    Raises:
      ValueError: no spatial axis, or an empty one; a form that does not fit; lengths that are not (N,).
      TypeError: complex input; lengths that are not integers.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> nn.ops.global_max_pool(jnp.arange(12).reshape(1, 2, 3, 2)).tolist()
    [[10, 11]]
    """
    array = ordered("global_max_pool", x)
    size = prod(checks.spatial("global_max_pool", array))
    if lengths is not None:
        lengths = checked_lengths("global_max_pool", lengths, array)
        array = real_only(array, lengths, neutral(array.dtype, smallest=False))
    whole = Windows(size, window=size, stride=size, dilation=1, low=0, high=0, count=1)
    flat = array.reshape(array.shape[0], size, array.shape[-1])
    settings = Settings(((1, whole),), implementation=implementation)
    check_extremes("global_max_pool", flat, settings)
    y = extremes(flat, settings).squeeze(1)
    return y if lengths is None else real_rows(y, lengths)


def global_avg_pool(x: ArrayLike, *, lengths: ArrayLike | None = None) -> jax.Array:
    """The average of each channel: ``(N, *space, C) → (N, C)``; the spatial axes are gone.

    y[n, c] = Σ_i x[n, i, c] / ∏ space over all positions i. The sum is taken in float32 at least; the result
    has the input's dtype. A plain function of one array, so it can be used as a layer.

    With ``lengths``, (N,) integers, the first spatial axis is time, and only the steps of each sequence
    count; a sequence without steps gives 0. As a layer it takes ``(x, lengths)``.

    Raises:
      ValueError: no spatial axis, or an empty one; lengths that are not (N,).
      TypeError: integer input, whose average is not an integer; lengths that are not integers.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> nn.ops.global_avg_pool(jnp.arange(12.0).reshape(1, 2, 3, 2)).tolist()
    [[5.0, 6.0]]
    """
    array = checks.floating("global_avg_pool", x)
    space = tuple(range(1, 1 + len(checks.spatial("global_avg_pool", array))))
    if lengths is None:
        return jnp.mean(array, axis=space, dtype=accumulator(array.dtype)).astype(array.dtype)
    lengths = checked_lengths("global_avg_pool", lengths, array)
    y = jnp.sum(real_only(array, lengths), axis=space, dtype=accumulator(array.dtype))
    steps = jnp.sum(real_steps(lengths, array), axis=space, dtype=y.dtype)
    return (y / (jnp.maximum(steps, 1) * prod(array.shape[2:-1]))).astype(array.dtype)
