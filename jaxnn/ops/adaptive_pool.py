"""Pools that are given the size of their output and choose their windows to fit.

Averages have one form: lax's sliding windows have one size, and these differ by one.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnn.kernels.dtypes import accumulator
from jaxnn.kernels.pooling.forms import Settings
from jaxnn.kernels.pooling.primitives import check_extremes, extremes
from jaxnn.kernels.pooling.windows import AdaptiveWindows, along, counts, inside, unfold
from jaxnn.ops import checks
from jaxnn.ops.checks import ordered
from jaxnn.ops.windows import Ints, per_axis


def adaptive_avg_pool(x: ArrayLike, output_size: Ints) -> jax.Array:
    """The average of windows that tile the input: ``(N, *space, C) → (N, *output_size, C)``.

    On an axis of L values and o outputs, output i averages x[⌊i·L/o⌋ : ⌈(i + 1)·L/o⌉], as in PyTorch and
    Keras: every value is in some window, and neighbouring windows overlap where o does not divide L (Equinox
    takes disjoint ones). An o above L repeats values. Sums are taken in float32 at least; the result has the
    input's dtype.

    Args:
      x: the input, floating-point.
      output_size: o: an int (for every spatial axis), or one per axis.

    Raises:
      ValueError: wrong rank, an ``output_size`` below 1.
      TypeError: integer input, whose average is not an integer.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> x = jnp.asarray([1.0, 2.0, 6.0, 8.0, 10.0]).reshape(1, 5, 1)
    >>> nn.ops.adaptive_avg_pool(x, 2).ravel().tolist()
    [3.0, 8.0]
    """
    array = checks.floating("adaptive_avg_pool", x)
    y = array.astype(accumulator(array.dtype))
    for axis, windows in _windows("adaptive_avg_pool", array, output_size).items():
        copies = unfold(y, axis, windows)
        real = along(inside(windows), (axis, axis + 1), copies, jnp.bool_)
        y = jnp.sum(jnp.where(real, copies, jnp.zeros_like(copies)), axis=axis + 1)
        y /= along(counts(windows), (axis,), y, y.dtype)
    return y.astype(array.dtype)


def adaptive_max_pool(x: ArrayLike, output_size: Ints, *, implementation: str | None = None) -> jax.Array:
    """The largest value of windows that tile the input: ``(N, *space, C) → (N, *output_size, C)``.

    On an axis of L values and o outputs, output i is the maximum of x[⌊i·L/o⌋ : ⌈(i + 1)·L/o⌉], the windows
    of ``adaptive_avg_pool``. Integers and booleans keep their dtype; ties and NaN as in ``max_pool``.

    Args:
      x: the input, floating-point, integer or boolean.
      output_size: o: an int (for every spatial axis), or one per axis.
      implementation: the form, by name, as in ``max_pool``; windows of several sizes have "unfolded" alone.

    Raises:
      ValueError: wrong rank, an ``output_size`` below 1, a form that does not fit.
      TypeError: complex input.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> x = jnp.asarray([1, 2, 6, 8, 10]).reshape(1, 5, 1)
    >>> nn.ops.adaptive_max_pool(x, 2).ravel().tolist()
    [6, 10]
    """
    array = ordered("adaptive_max_pool", x)
    axes = _windows("adaptive_max_pool", array, output_size)
    settings = Settings(tuple(axes.items()), implementation=implementation)
    check_extremes("adaptive_max_pool", array, settings)
    return extremes(array, settings)


def _windows(op: str, x: jax.Array, output_size: Ints) -> dict[int, AdaptiveWindows]:
    sizes = checks.spatial(op, x)
    out = per_axis(op, "output_size", output_size, len(sizes))
    return {
        axis: AdaptiveWindows(size, count)
        for axis, (size, count) in enumerate(zip(sizes, out, strict=True), start=1)
    }
