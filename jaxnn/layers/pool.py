"""Pooling layers: no weights, only settings. ``window`` is an int (for every spatial axis) or a tuple."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from jaxnn.kernels.pooling.windows import neutral
from jaxnn.layer import Layer, constructor
from jaxnn.layers.weights import weightless
from jaxnn.ops import adaptive_pool, checks, pool, windows
from jaxnn.ops.global_pool import global_avg_pool, global_max_pool
from jaxnn.ops.lp_pool import check_exponent
from jaxnn.ops.lp_pool import lp_pool as lp_pool_op
from jaxnn.ops.pool_windows import check_padding
from jaxnn.ops.sequences import real_only
from jaxnn.ops.windows import Ints, Padding
from jaxnn.ops.windows_over_time import averages, fitted
from jaxnn.sequences import of_whole, takes_lengths, with_lengths, without_carry

__all__ = [
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "avg_pool",
    "global_avg_pool",
    "global_max_pool",
    "lp_pool",
    "max_pool",
    "min_pool",
]


@constructor
def max_pool(
    window: Ints,
    *,
    strides: Ints | None = None,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    ceil_mode: bool = False,
) -> Layer:
    """The largest value of each window: ``(N, *space, C) → (N, *out, C)``.

    No weights. For the settings see ``nn.ops.max_pool``. Of ``(x, lengths)``, with time as the first spatial
    axis, the result is ``(y, lengths)``, as of each sequence alone.

    Args:
      window: the window's size: an int, or one per axis.
      strides: the step between windows; None: the window.
      padding: ``"VALID"``, ``"SAME"``, ``"SAME_LOWER"``, an int, one int per axis, or one (low, high) pair
        per axis.
      dilation: the distance between the window's values.
      ceil_mode: round the output size up.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.max_pool(2), (1, 28, 28, 8))
    (1, 14, 14, 8)
    """
    _check_settings("max_pool", window, strides, padding, dilation, ceil_mode=ceil_mode)
    return _sliding(
        "max_pool",
        pool.max_pool,
        window=window,
        strides=strides,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )


@constructor
def min_pool(
    window: Ints,
    *,
    strides: Ints | None = None,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    ceil_mode: bool = False,
) -> Layer:
    """The smallest value of each window: ``(N, *space, C) → (N, *out, C)``.

    No weights. For the settings see ``nn.ops.min_pool``, for ``(x, lengths)`` ``max_pool``.

    Args:
      window: the window's size: an int, or one per axis.
      strides: the step between windows; None: the window.
      padding: as in ``max_pool``.
      dilation: the distance between the window's values.
      ceil_mode: round the output size up.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.min_pool(3, strides=2), (1, 28, 28, 8))
    (1, 13, 13, 8)
    """
    _check_settings("min_pool", window, strides, padding, dilation, ceil_mode=ceil_mode)
    return _sliding(
        "min_pool",
        pool.min_pool,
        window=window,
        strides=strides,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )


@constructor
def avg_pool(
    window: Ints,
    *,
    strides: Ints | None = None,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> Layer:
    """The average of each window: ``(N, *space, C) → (N, *out, C)``.

    No weights. For the settings see ``nn.ops.avg_pool``, for ``(x, lengths)`` ``max_pool``.

    Args:
      window: the window's size: an int, or one per axis.
      strides: the step between windows; None: the window.
      padding: as in ``max_pool``.
      dilation: the distance between the window's values.
      ceil_mode: round the output size up.
      count_include_pad: divide by the number of values with padding counted.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.avg_pool(2), (1, 7, 7, 8))
    (1, 3, 3, 8)
    """
    flags = {"ceil_mode": ceil_mode, "count_include_pad": count_include_pad}
    _check_settings("avg_pool", window, strides, padding, dilation, **flags)
    return _sliding(
        "avg_pool",
        pool.avg_pool,
        window=window,
        strides=strides,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
    )


@constructor
def lp_pool(
    window: Ints,
    *,
    p: float = 2.0,
    strides: Ints | None = None,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    ceil_mode: bool = False,
) -> Layer:
    """The p-norm of each window: ``(N, *space, C) → (N, *out, C)``.

    No weights. For the settings see ``nn.ops.lp_pool``, for ``(x, lengths)`` ``max_pool``.

    Args:
      window: the window's size: an int, or one per axis.
      p: the exponent, at least 1 and finite.
      strides: the step between windows; None: the window.
      padding: as in ``max_pool``.
      dilation: the distance between the window's values.
      ceil_mode: round the output size up.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.lp_pool(2, p=3), (1, 28, 28, 8))
    (1, 14, 14, 8)
    """
    _check_settings("lp_pool", window, strides, padding, dilation, ceil_mode=ceil_mode)
    check_exponent("lp_pool", p)
    return _sliding(
        "lp_pool",
        lp_pool_op,
        window=window,
        p=p,
        strides=strides,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )


@constructor
def adaptive_avg_pool(output_size: Ints) -> Layer:
    """The average of windows that tile the input: ``(N, *space, C) → (N, *output_size, C)``.

    No weights. Of ``(x, lengths)``, with time as the first spatial axis, the windows tile each sequence
    alone; a sequence without steps gives zeros. For the windows see ``nn.ops.adaptive_avg_pool``.

    Args:
      output_size: an int (for every spatial axis), or one per axis.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.adaptive_avg_pool(7), (1, 10, 12, 8))
    (1, 7, 7, 8)
    """
    windows.any_axes("adaptive_avg_pool", "output_size", output_size)
    return _adaptive("adaptive_avg_pool", adaptive_pool.adaptive_avg_pool, output_size)


@constructor
def adaptive_max_pool(output_size: Ints) -> Layer:
    """The largest value of windows that tile the input: ``(N, *space, C) → (N, *output_size, C)``.

    No weights. Of ``(x, lengths)``, with time as the first spatial axis, the windows tile each sequence
    alone; a sequence without steps gives zeros. For the windows see ``nn.ops.adaptive_max_pool``.

    Args:
      output_size: an int (for every spatial axis), or one per axis.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.adaptive_max_pool((4, 2)), (1, 10, 12, 8))
    (1, 4, 2, 8)
    """
    windows.any_axes("adaptive_max_pool", "output_size", output_size)
    return _adaptive("adaptive_max_pool", adaptive_pool.adaptive_max_pool, output_size)


def _sliding(name: str, function: Callable[..., jax.Array], window: Ints, **settings: Any) -> Layer:
    """A pool whose windows slide; of sequences, as over each alone."""

    def pooled(inputs: Any) -> Any:
        given = with_lengths(inputs)
        x, lengths = (inputs, None) if given is None else without_carry(name, given)
        if lengths is None:
            return function(x, window=window, **settings)
        checks.spatial(name, x)
        if name == "avg_pool":
            y, _, counts = averages(checks.floating(name, x), lengths, window, **settings)
            return real_only(y, counts), counts
        own = settings | {"strides": window if settings["strides"] is None else settings["strides"]}
        extreme = name in ("max_pool", "min_pool")
        fill = neutral(x.dtype, smallest=name == "min_pool") if extreme else 0
        fits = fitted(name, x, lengths, window, fill=fill, **{k: v for k, v in own.items() if k != "p"})
        y = function(fits.x, window=window, **own | {"padding": fits.padding})
        return real_only(y, fits.lengths), fits.lengths

    return takes_lengths(weightless(name, pooled))


def _adaptive(name: str, function: Callable[..., jax.Array], output_size: Ints) -> Layer:
    def pooled(x: Any, lengths: Any) -> jax.Array:
        return function(x, output_size, lengths=lengths)

    return takes_lengths(weightless(name, lambda inputs: of_whole(name, pooled, inputs)))


def _check_settings(
    op: str, window: Ints, strides: Ints | None, padding: Padding, dilation: Ints, **flags: bool
) -> None:
    """Checks the settings as far as possible before the number of spatial axes is known."""
    for name, value in (("window", window), ("strides", strides), ("dilation", dilation)):
        if value is not None:
            windows.any_axes(op, name, value)
    check_padding(op, padding)
    checks.flags(op, **flags)
