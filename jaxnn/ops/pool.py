"""Pooling: the maximum, minimum or average of every window of the input, each channel on its own."""

from functools import partial

import jax
from jax.typing import ArrayLike

from jaxnn.kernels.dtypes import accumulator
from jaxnn.kernels.pooling import primitives
from jaxnn.kernels.pooling.forms import Settings
from jaxnn.kernels.pooling.windows import along, counts
from jaxnn.ops import checks
from jaxnn.ops.checks import ordered
from jaxnn.ops.pool_windows import pool_windows
from jaxnn.ops.windows import Ints, Padding


def max_pool(
    x: ArrayLike,
    window: Ints,
    *,
    strides: Ints | None = None,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    ceil_mode: bool = False,
    implementation: str | None = None,
) -> jax.Array:
    """The largest value of each window: ``(N, *space, C) → (N, *out, C)``.

    On each axis out = ⌊(L + low + high − k') / s⌋ + 1, for the input size L, the padding (low, high), the
    stride s and the span k' = d·(k − 1) + 1 of a window of k values that stand d apart::

        y[n, i, c] = max_j x[n, s·i + d·j − low, c]

    Padding never wins: a window's maximum is one of the input's own values, −inf included. NaN propagates.
    At a tie the derivative belongs to the first maximum, in row-major order of the window (as in PyTorch;
    ``jnp.max`` splits it evenly). Forward mode, reverse mode and their compositions all work.

    Args:
      x: the input, floating-point, integer or boolean (there the maximum means "any"); the dtype is kept.
      window: the window's size k: an int (for every spatial axis), or one per axis.
      strides: the step s between windows, as ``window``. None: the window, as in PyTorch and Keras (1 in
        Flax, Equinox and stax).
      padding: ``"VALID"`` (none), ``"SAME"`` (so that out = ⌈L/s⌉, odd padding on the high side),
        ``"SAME_LOWER"`` (on the low side), an int, one int per axis, or one (low, high) pair per axis. Each
        must be at most ⌊k'/2⌋: half the span, so a dilated window may be padded further (PyTorch's bound is
        ⌊k/2⌋, the same without dilation).
      dilation: the distance d between the window's values, as ``window``.
      ceil_mode: round out up, so that the last window may hang over the padded input; it is dropped if it
        would start in the high padding (as in PyTorch).
      implementation: the form to compute it in, by name; None chooses by platform and problem. ``"lax"`` is
        the plain form, with its own derivative. ``docs/kernels`` has the names,
        ``jaxnn.kernels.explain`` shows what is chosen.

    Raises:
      ValueError: wrong rank, a setting below 1, padding that is negative or too wide, a window larger than
        the padded input, one that holds nothing but padding, or a form that does not fit.
      TypeError: complex input, settings that are not integers.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> x = jnp.asarray([3, 1, 4, 1, 5, 9, 2]).reshape(1, 7, 1)
    >>> nn.ops.max_pool(x, 2).ravel().tolist()
    [3, 4, 9]
    >>> nn.ops.max_pool(x, 3, strides=2, padding="SAME").ravel().tolist()
    [3, 4, 9, 9]
    """
    return _extreme_pool(
        "max_pool", x, window, strides, padding, dilation, ceil_mode, implementation, smallest=False
    )


def min_pool(
    x: ArrayLike,
    window: Ints,
    *,
    strides: Ints | None = None,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    ceil_mode: bool = False,
    implementation: str | None = None,
) -> jax.Array:
    """The smallest value of each window: ``(N, *space, C) → (N, *out, C)``.

    ``max_pool`` for the minimum: y[n, i, c] = min_j x[n, s·i + d·j − low, c], with the same settings, the
    same rule for ties and the same errors. For booleans the minimum means "all".

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> x = jnp.asarray([3, 1, 4, 1, 5, 9, 2]).reshape(1, 7, 1)
    >>> nn.ops.min_pool(x, 3, strides=2).ravel().tolist()
    [1, 1, 2]
    """
    return _extreme_pool(
        "min_pool", x, window, strides, padding, dilation, ceil_mode, implementation, smallest=True
    )


def avg_pool(
    x: ArrayLike,
    window: Ints,
    *,
    strides: Ints | None = None,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    implementation: str | None = None,
) -> jax.Array:
    """The average of each window: ``(N, *space, C) → (N, *out, C)``.

    With out as in ``max_pool``::

        y[n, i, c] = Σ_j x[n, s·i + d·j − low, c] / count[i]

    Padding adds 0, and count[i] is the number of the window's values that are the input's own (as in Keras,
    Haiku and stax). With ``count_include_pad=True`` padding counts too (the default of PyTorch and Flax);
    what hangs over the padded input in ``ceil_mode`` never does. Sums are taken in float32 at least; the
    result has the input's dtype.

    Args:
      x: the input, floating-point.
      window: the window's size k: an int (for every spatial axis), or one per axis.
      strides: the step s between windows; None: the window.
      padding: as in ``max_pool``.
      dilation: the distance d between the window's values.
      ceil_mode: as in ``max_pool``.
      count_include_pad: divide by the number of values with padding counted.
      implementation: the form of the sums, by name; None chooses.

    Raises:
      ValueError: as ``max_pool``.
      TypeError: integer input, whose average is not an integer.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> x = jnp.asarray([3.0, 1.0, 4.0, 1.0, 5.0]).reshape(1, 5, 1)
    >>> nn.ops.avg_pool(x, 2).ravel().tolist()
    [2.0, 2.5]
    >>> nn.ops.avg_pool(x, 2, padding=1).ravel().tolist()
    [3.0, 2.5, 3.0]
    """
    array = checks.floating("avg_pool", x)
    checks.flags("avg_pool", count_include_pad=count_include_pad)
    axes = pool_windows("avg_pool", array, window, strides, padding, dilation, ceil_mode)
    settings = Settings(tuple(axes.items()), implementation=implementation)
    primitives.check_sums("avg_pool", array, settings)
    return _averaged(array, settings, count_include_pad)


@partial(jax.jit, static_argnums=(1, 2), inline=True)  # traced and differentiated once per shape
def _averaged(x: jax.Array, settings: Settings, include_pad: bool) -> jax.Array:
    y = primitives.sums(x.astype(accumulator(x.dtype)), settings)
    for axis, axis_windows in settings.axes:
        held = counts(axis_windows, include_pad=include_pad)
        same = (held == held[0]).all()
        y /= along(held[0] if same else held, () if same else (axis,), y, y.dtype)
    return y.astype(x.dtype)


def _extreme_pool(
    op: str,
    x: ArrayLike,
    window: Ints,
    strides: Ints | None,
    padding: Padding,
    dilation: Ints,
    ceil_mode: bool,
    implementation: str | None,
    *,
    smallest: bool,
) -> jax.Array:
    array = ordered(op, x)
    axes = pool_windows(op, array, window, strides, padding, dilation, ceil_mode)
    settings = Settings(tuple(axes.items()), smallest, implementation)
    primitives.check_extremes(op, array, settings)
    return primitives.extremes(array, settings)
