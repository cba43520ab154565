"""Windows that slide over sequences of different lengths, as over each sequence alone.

The first spatial axis of ``x: (N, T, *space, C)`` is time. What stands past the end of a sequence becomes
what padding holds, so that a window there reads what it would read beyond the end of the sequence alone.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.kernels.dtypes import accumulator
from jaxnn.kernels.spans import Pairs, dilated
from jaxnn.ops import windows
from jaxnn.ops.conv import pad_with_values
from jaxnn.ops.pool import avg_pool
from jaxnn.ops.sequences import real_only
from jaxnn.ops.windows import Ints, Padding


class Fitted(NamedTuple):
    """Sequences ready for an op that knows no lengths.

    Attributes:
      x: with nothing of its own past the ends.
      padding: for the op.
      lengths: how many windows of each sequence there are, (N,).
    """

    x: jax.Array
    padding: Pairs
    lengths: jax.Array


def fitted(
    op: str,
    x: jax.Array,
    lengths: jax.Array,
    window: Ints,
    *,
    strides: Ints = 1,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    ceil_mode: bool = False,
    fill: Any = 0,
) -> Fitted:
    """``x`` with ``fill`` past the ends, and the number of windows that each sequence alone would have."""
    sizes = x.shape[1:-1]
    rank = len(sizes)
    step = windows.per_axis(op, "strides", strides, rank)
    span = dilated(
        windows.per_axis(op, "window", window, rank), windows.per_axis(op, "dilation", dilation, rank)
    )
    pairs = windows.pairs(op, padding, sizes, span, step)
    lengths = jnp.clip(lengths, 0, sizes[0])
    moves = padding in ("SAME", "SAME_LOWER") and step[0] > 1
    by_value = isinstance(padding, str) and padding in windows.VALUE_PADDINGS
    if not moves and not by_value:
        low, high = pairs[0]
        # Padding that crops takes the last values of each sequence, wherever it ends.
        x = real_only(x, lengths + high if high < 0 else lengths, fill)
        return Fitted(x, pairs, _counts(lengths, low + high, low, step[0], span[0], ceil_mode))
    before, after = _own_pairs(str(padding), lengths, step[0], span[0])
    counts = _counts(lengths, before + after, before, step[0], span[0], ceil_mode)
    most = windows.output_sizes(op, sizes, span, step, pairs)[0]
    x = real_only(x, lengths, fill)
    if by_value:
        x = pad_with_values(x, ((0, 0), *pairs[1:]), str(padding))
    x = _placed(x, lengths, before, (most - 1) * step[0] + span[0], str(padding), fill)
    others = ((0, 0),) * (rank - 1) if by_value else pairs[1:]
    return Fitted(x, ((0, 0), *others), counts)


def averages(
    x: jax.Array,
    lengths: jax.Array,
    window: Ints,
    *,
    strides: Ints | None = None,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> Fitted:
    """``avg_pool`` of sequences: the averages, and how many of each sequence there are."""
    op, wide = "avg_pool", accumulator(x.dtype)
    if count_include_pad and ceil_mode:
        raise ValueError(
            f"{op}: ceil_mode must be False with count_include_pad=True where x has lengths, got True"
        )
    step = window if strides is None else strides
    own: dict[str, Any] = {"strides": step, "dilation": dilation, "ceil_mode": ceil_mode}

    def fit(x: jax.Array) -> Fitted:
        return fitted(op, x, lengths, window, padding=padding, **own)

    def average(fits: Fitted) -> jax.Array:
        return avg_pool(fits.x, window, padding=fits.padding, count_include_pad=count_include_pad, **own)

    fits = fit(x.astype(wide))
    y = average(fits)
    if not count_include_pad:
        # The op has divided by the number of values within x; of these some are past the ends.
        share = average(fit(jnp.ones_like(x[..., :1], wide)))
        y = y / jnp.where(share == 0, jnp.ones_like(share), share)
    return fits._replace(x=y.astype(x.dtype))


def _own_pairs(padding: str, lengths: jax.Array, step: int, span: int) -> tuple[jax.Array, jax.Array]:
    """The padding before and after each sequence where it depends on the length."""
    total = jnp.maximum((-(-lengths // step) - 1) * step + span - lengths, 0)
    less = total // 2
    return (total - less, less) if padding == "SAME_LOWER" else (less, total - less)


def _counts(lengths: jax.Array, both: Any, low: Any, step: int, span: int, ceil_mode: bool) -> jax.Array:
    """How many windows fit, as ``windows.output_sizes`` says, with ``both`` paddings together.

    None fits into a sequence without steps.
    """
    room = lengths + (both - span)
    counts = (-(-room // step) if ceil_mode else room // step) + 1
    if ceil_mode:
        counts = jnp.where((counts - 1) * step >= lengths + low, counts - 1, counts)
    return jnp.where(lengths > 0, jnp.maximum(counts, 0), 0)


def _placed(
    x: jax.Array, lengths: jax.Array, low: jax.Array, size: int, padding: str, fill: Any
) -> jax.Array:
    """Each sequence from its own place ``low`` on, in ``size`` places that hold its padding too."""
    last = jnp.expand_dims(lengths - 1, 1)
    place = jnp.expand_dims(jnp.arange(size, dtype=jnp.int32), 0) - jnp.expand_dims(low, 1)
    if padding == "CIRCULAR":
        source = place % jnp.maximum(last + 1, 1)
    elif padding == "REFLECT":
        around = place % jnp.maximum(2 * last, 1)
        source = jnp.minimum(around, 2 * last - around)
    else:
        source = place
    others = tuple(range(2, x.ndim))
    taken = jnp.take_along_axis(x, jnp.expand_dims(jnp.clip(source, 0, jnp.maximum(last, 0)), others), axis=1)
    if padding in windows.VALUE_PADDINGS:
        return taken
    inside = jnp.expand_dims((place >= 0) & (place <= last), others)
    return jnp.where(inside, taken, jnp.full_like(taken, fill))
