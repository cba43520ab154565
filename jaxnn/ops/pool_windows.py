"""Converts the settings of pools (sizes, strides, padding) into windows on each axis."""

import jax

from jaxnn.kernels.pooling.windows import Windows, counts
from jaxnn.kernels.spans import dilated
from jaxnn.ops import checks, windows
from jaxnn.ops.windows import Ints, Padding

PADDING_NAMES = ("VALID", "SAME", "SAME_LOWER")


def check_padding(op: str, padding: Padding) -> None:
    """Raises unless ``padding`` is one that pools take; layers ask this before they have seen any input."""
    if isinstance(padding, str) and padding not in PADDING_NAMES:
        unknown = "unknown padding" if padding not in windows.PADDING_NAMES else "pools do not take padding"
        raise ValueError(
            f"{op}: {unknown} {padding!r}; the names are {', '.join(PADDING_NAMES)}, and integers or "
            "(low, high) pairs work too"
        )
    windows.check_padding(op, padding)


def pool_windows(
    op: str,
    x: jax.Array,
    window: Ints,
    strides: Ints | None,
    padding: Padding,
    dilation: Ints,
    ceil_mode: bool,
) -> dict[int, Windows]:
    """The windows on each spatial axis of ``x: (N, *space, C)``, by the number of the axis."""
    checks.flags(op, ceil_mode=ceil_mode)
    sizes = checks.spatial(op, x)
    rank = len(sizes)
    window = windows.per_axis(op, "window", window, rank)
    strides = window if strides is None else windows.per_axis(op, "strides", strides, rank)
    dilation = windows.per_axis(op, "dilation", dilation, rank)
    span = dilated(window, dilation)
    check_padding(op, padding)
    pads = windows.pairs(op, padding, sizes, span, strides)
    half = tuple(k // 2 for k in span)
    if any(min(pair) < 0 or max(pair) > h for pair, h in zip(pads, half, strict=True)):
        raise ValueError(
            f"{op}: padding must be at least 0 and at most half the window's span d*(k - 1) + 1, rounded "
            f"down, which is {half}, got {padding!r}"
        )
    out = windows.output_sizes(op, sizes, span, strides, pads, ceil_mode=ceil_mode)
    settings = zip(sizes, window, strides, dilation, pads, out, strict=True)
    result = {
        axis: Windows(n, k, s, d, low, high, count)
        for axis, (n, k, s, d, (low, high), count) in enumerate(settings, start=1)
    }
    if any((counts(axis_windows) == 0).any() for axis_windows in result.values()):
        raise ValueError(
            f"{op}: every window must hold a value of the input, but with window {window}, dilation "
            f"{dilation} and padding {pads} some hold only padding, got input {sizes}"
        )
    return result
