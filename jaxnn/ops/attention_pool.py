"""Pooling by attention: an average over all positions whose weights follow from the values themselves."""

from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxnn.kernels.dtypes import widened
from jaxnn.ops import checks
from jaxnn.ops.dense import dense
from jaxnn.ops.sequences import checked_lengths, real_only, real_steps


def attention_pool(x: ArrayLike, kernel: ArrayLike, *, lengths: ArrayLike | None = None) -> jax.Array:
    """The average of each channel, weighted by attention: ``(N, *space, C) → (N, C)``.

    a[n, i, h] = softmax over all positions i of x[n, i] · kernel[:, h], and for the channels c of head h, the
    C / H neighbours from h · C / H on, y[n, c] = Σ_i a[n, i, h] · x[n, i, c]. With a kernel of zeros it is
    ``global_avg_pool``. Softmax and sums are taken in float32 at least; the result has the input's dtype.

    Args:
      x: the input, floating-point.
      kernel: (C, H), of the dtype of ``x``; H, the number of heads, divides C.
      lengths: (N,) integers: the first spatial axis is time, and only the steps of each sequence count. What
        stands past an end has no influence, not even NaN; a sequence without steps gives zeros.

    Raises:
      ValueError: no spatial axis, a kernel that is not (C, H), heads that do not divide C, lengths that are
        not (N,).
      TypeError: integer input, or a kernel of another dtype; lengths that are not integers.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> x = jnp.array([[[0.0, 1.0], [2.0, 5.0]]])
    >>> nn.ops.attention_pool(x, jnp.zeros((2, 1))).tolist()
    [[1.0, 3.0]]

    Yang et al., "Hierarchical attention networks for document classification", 2016, without the dense layer
    before the scores.
    """
    op = "attention_pool"
    array, kernel = checks.floating(op, x), checks.floating(op, kernel, "kernel")
    checks.same_dtype(op, array, kernel=kernel)
    positions, channels = prod(checks.spatial(op, array)), array.shape[-1]
    if kernel.ndim != 2 or kernel.shape[0] != channels or not kernel.shape[1] or channels % kernel.shape[1]:
        raise ValueError(
            f"{op}: kernel must be (C, H) with C = {channels} and H a divisor of it, got shape {kernel.shape}"
        )
    real = jnp.ones_like(array[..., :1], jnp.bool_)
    if lengths is not None:
        lengths = checked_lengths(op, lengths, array)
        array, real = real_only(array, lengths), real & real_steps(lengths, array)
    heads = kernel.shape[1]
    real = real.reshape(array.shape[0], positions, 1)
    flat = array.reshape(array.shape[0], positions, channels)
    scores = widened(dense(flat, kernel))
    # Not −∞: that would be the step to blame under jax.debug_infs.
    scores = jnp.where(real, scores, jnp.full_like(scores, np.finfo(scores.dtype).min))
    most = lax.stop_gradient(jnp.max(scores, axis=1, keepdims=True))
    most = jnp.where(jnp.isfinite(most), most, jnp.zeros_like(most))
    shares = jnp.where(real, jnp.exp(scores - most), jnp.zeros_like(scores))
    total = jnp.sum(shares, axis=1)
    values = widened(flat).reshape(*flat.shape[:2], heads, channels // heads)
    y = jnp.sum(jnp.expand_dims(shares, 3) * values, axis=1)
    y = y / jnp.expand_dims(jnp.where(total == 0, jnp.ones_like(total), total), 2)
    return y.reshape(array.shape[0], channels).astype(array.dtype)
