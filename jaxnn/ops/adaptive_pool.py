"""Pools that are given the size of their output and choose their windows to fit.

Averages have one form: lax's sliding windows have one size, and these differ by one.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnn.kernels.dtypes import accumulator
from jaxnn.kernels.pooling.forms import Settings
from jaxnn.kernels.pooling.primitives import check_extremes, extremes
from jaxnn.kernels.pooling.windows import AdaptiveWindows, along, counts, inside, neutral, unfold
from jaxnn.ops import checks
from jaxnn.ops.checks import ordered
from jaxnn.ops.sequences import checked_lengths, of_rows, real_rows
from jaxnn.ops.windows import Ints, per_axis


def adaptive_avg_pool(x: ArrayLike, output_size: Ints, *, lengths: ArrayLike | None = None) -> jax.Array:
    """The average of windows that tile the input: ``(N, *space, C) → (N, *output_size, C)``.

    On an axis of L values and o outputs, output i averages x[⌊i·L/o⌋ : ⌈(i + 1)·L/o⌉], as in PyTorch and
    Keras: every value is in some window, and neighbouring windows overlap where o does not divide L (Equinox
    takes disjoint ones). An o above L repeats values. Sums are taken in float32 at least; the result has the
    input's dtype.

    Args:
      x: the input, floating-point.
      output_size: o: an int (for every spatial axis), or one per axis.
      lengths: (N,) integers: the first spatial axis is time, and L is each sequence's own length there. A
        sequence without steps gives zeros.

    Raises:
      ValueError: wrong rank, an ``output_size`` below 1, lengths that are not (N,).
      TypeError: integer input, whose average is not an integer; lengths that are not integers.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> x = jnp.asarray([1.0, 2.0, 6.0, 8.0, 10.0]).reshape(1, 5, 1)
    >>> nn.ops.adaptive_avg_pool(x, 2).ravel().tolist()
    [3.0, 8.0]
    """
    array = checks.floating("adaptive_avg_pool", x)
    y = array.astype(accumulator(array.dtype))
    axes = _windows("adaptive_avg_pool", array, output_size)
    if lengths is not None:
        lengths = checked_lengths("adaptive_avg_pool", lengths, array)
        copies, own = _of_each(y, lengths, axes.pop(1).count, 0)
        y = jnp.sum(copies, axis=2) / jnp.maximum(jnp.sum(own, axis=2, dtype=y.dtype), 1)
    for axis, windows in axes.items():
        copies = unfold(y, axis, windows)
        real = along(inside(windows), (axis, axis + 1), copies, jnp.bool_)
        y = jnp.sum(jnp.where(real, copies, jnp.zeros_like(copies)), axis=axis + 1)
        y /= along(counts(windows), (axis,), y, y.dtype)
    return y.astype(array.dtype)


def adaptive_max_pool(
    x: ArrayLike,
    output_size: Ints,
    *,
    implementation: str | None = None,
    lengths: ArrayLike | None = None,
) -> jax.Array:
    """The largest value of windows that tile the input: ``(N, *space, C) → (N, *output_size, C)``.

    On an axis of L values and o outputs, output i is the maximum of x[⌊i·L/o⌋ : ⌈(i + 1)·L/o⌉], the windows
    of ``adaptive_avg_pool``. Integers and booleans keep their dtype; ties and NaN as in ``max_pool``.

    Args:
      x: the input, floating-point, integer or boolean.
      output_size: o: an int (for every spatial axis), or one per axis.
      implementation: the form, by name, as in ``max_pool``; windows of several sizes have "unfolded" alone.
      lengths: (N,) integers, as in ``adaptive_avg_pool``.

    Raises:
      ValueError: wrong rank, an ``output_size`` below 1, a form that does not fit, lengths that are not (N,).
      TypeError: complex input; lengths that are not integers.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> x = jnp.asarray([1, 2, 6, 8, 10]).reshape(1, 5, 1)
    >>> nn.ops.adaptive_max_pool(x, 2).ravel().tolist()
    [6, 10]
    """
    array = ordered("adaptive_max_pool", x)
    axes = _windows("adaptive_max_pool", array, output_size)
    if lengths is not None:
        lengths = checked_lengths("adaptive_max_pool", lengths, array)
        copies, _ = _of_each(array, lengths, axes[1].count, neutral(array.dtype, smallest=False))
        # The windows of each sequence are a new axis, over whose steps the maximum is taken as one window.
        array = copies.reshape(copies.shape[0] * copies.shape[1], *copies.shape[2:])
        axes[1] = AdaptiveWindows(array.shape[1], 1)
    settings = Settings(tuple(axes.items()), implementation=implementation)
    check_extremes("adaptive_max_pool", array, settings)
    y = extremes(array, settings)
    if lengths is None:
        return y
    return real_rows(y.reshape(*copies.shape[:2], *y.shape[2:]), lengths)


def _of_each(x: jax.Array, lengths: jax.Array, count: int, otherwise: Any) -> tuple[jax.Array, jax.Array]:
    """The steps of each window of each sequence, (N, count, T, ...), and which are its own.

    All others are ``otherwise``.
    """
    steps = jnp.arange(x.shape[1], dtype=jnp.int32)
    sizes = jnp.clip(of_rows(lengths, x), 0, x.shape[1])
    edges = jnp.expand_dims(jnp.arange(count + 1, dtype=jnp.int32), 0) * jnp.expand_dims(sizes, 1)
    starts, stops = edges[:, :-1] // count, -(-edges[:, 1:] // count)
    at = jnp.expand_dims(steps, (0, 1))
    own = (at >= jnp.expand_dims(starts, 2)) & (at < jnp.expand_dims(stops, 2))
    own = jnp.expand_dims(own, tuple(range(3, x.ndim + 1)))
    wide = jnp.expand_dims(x, 1)
    return jnp.where(own, wide, jnp.full_like(wide, otherwise)), own


def _windows(op: str, x: jax.Array, output_size: Ints) -> dict[int, AdaptiveWindows]:
    sizes = checks.spatial(op, x)
    out = per_axis(op, "output_size", output_size, len(sizes))
    return {
        axis: AdaptiveWindows(size, count)
        for axis, (size, count) in enumerate(zip(sizes, out, strict=True), start=1)
    }
