"""Power-average pooling: the p-norm of every window, between the sum of magnitudes and their maximum.

There is one form per size of window: without the division by the largest value, which lax's sliding windows
can't take, powers would overflow.
"""

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxnn.kernels.dtypes import accumulator
from jaxnn.kernels.lowering.fusion import materialized
from jaxnn.kernels.pooling.windows import Windows, along, few, inside, slices, unfold
from jaxnn.ops import checks
from jaxnn.ops.pool_windows import pool_windows
from jaxnn.ops.windows import Ints, Padding


def lp_pool(
    x: ArrayLike,
    window: Ints,
    *,
    p: float = 2.0,
    strides: Ints | None = None,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    ceil_mode: bool = False,
) -> jax.Array:
    """The p-norm of each window: ``(N, *space, C) → (N, *out, C)``.

    With out as in ``max_pool``::

        y[n, i, c] = (Σ_j |x[n, s·i + d·j − low, c]|^p)^(1/p)

    For even p and for x ≥ 0 this is PyTorch's ``lp_pool``, which leaves out the absolute value, so that for
    odd p a negative sum has no root there (NaN). Padding and what hangs over in ``ceil_mode`` add 0; PyTorch
    scales a window that hangs over up by the share of it that is missing. Values are divided by the largest
    of their window before the power, so that no p overflows or underflows. Powers and sums are taken in
    float32 at least; the result has the input's dtype.

    The derivative sign(x)·(|x|/y)^(p − 1) is finite everywhere; where a whole window is 0 the norm has a
    corner, and 0 is taken.

    Args:
      x: the input, floating-point.
      window: the window's size k: an int (for every spatial axis), or one per axis.
      p: the exponent, at least 1 and finite: 1 sums magnitudes; the larger, the closer to their maximum.
      strides: the step s between windows; None: the window.
      padding: as in ``max_pool``.
      dilation: the distance d between the window's values.
      ceil_mode: as in ``max_pool``.

    Raises:
      ValueError: as ``max_pool``; a p below 1 or infinite.
      TypeError: integer input; a p that is not a number.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> x = jnp.asarray([3.0, -4.0, 0.0, 0.0]).reshape(1, 4, 1)
    >>> nn.ops.lp_pool(x, 2).ravel().tolist()
    [5.0, 0.0]
    """
    array = checks.floating("lp_pool", x)
    exponent = check_exponent("lp_pool", p)
    axes = pool_windows("lp_pool", array, window, strides, padding, dilation, ceil_mode)
    # All axes at once: a norm of norms has a corner at every row of zeros, where the norm itself has none.
    values, within = _each_window(array.astype(accumulator(array.dtype)), axes)
    return _norm(values, within, exponent).astype(array.dtype)


def check_exponent(op: str, p: float) -> int | float:
    """``p`` as an int where it is a whole number; raises unless it is finite and at least 1."""
    rule = "at least 1 and finite (max_pool of |x| is its limit)"
    exponent = checks.number(op, "p", p, least=1, rule=rule)
    return int(exponent) if exponent.is_integer() else exponent


def _each_window(x: jax.Array, axes: dict[int, Windows]) -> tuple[list[jax.Array], tuple[int, ...]]:
    """The values of each window, 0 for padding: one after the other, or all on axes with these numbers."""
    x = materialized(x)
    if few(*axes.values()) and not all(w.tiles for w in axes.values()):
        return list(slices(x, axes)), ()
    for axis in reversed(axes):
        x = unfold(x, axis, axes[axis])
        if not (real := inside(axes[axis])).all():
            x = jnp.where(along(real, (axis, axis + 1), x, jnp.bool_), x, jnp.zeros_like(x))
    return [x], tuple(2 * axis for axis in axes)


def _norm(values: list[jax.Array], axes: tuple[int, ...], p: int | float) -> jax.Array:
    """The p-norm over all values. It does not depend on the scale, so neither does its derivative."""
    sizes = [jnp.max(jnp.abs(x), axis=axes, keepdims=True) for x in values]
    largest = lax.stop_gradient(reduce(jnp.maximum, sizes))
    one = jnp.ones_like(largest)
    smallest = jnp.asarray(np.finfo(largest.dtype).tiny, largest.dtype)
    scale = materialized(jnp.where((largest >= smallest) & jnp.isfinite(largest), largest, one))
    powers = [jnp.sum(_power(x / scale, p), axis=axes, keepdims=True) for x in values]
    summed = materialized(reduce(jnp.add, powers))
    nothing = summed == 0
    root = jnp.where(nothing, one, summed) ** (1 / p)
    return jnp.where(nothing, jnp.zeros_like(root), scale * root).squeeze(axes)


def _power(x: jax.Array, p: int | float) -> jax.Array:
    """|x|^p with the right derivatives at 0; where the second is infinite (1 < p < 2), 0 and not NaN."""
    if p % 2 == 0:
        return lax.integer_pow(x, int(p))
    size = x * lax.sign(x)  # not jnp.abs, whose derivative at 0 is 1
    if isinstance(p, int):
        return lax.integer_pow(size, p)
    nothing = size == 0
    safe = jnp.where(nothing, jnp.ones_like(size), size)
    return jnp.where(nothing, jnp.zeros_like(size), safe**p)
