"""Convolution as matrix products of unfolded windows, a few examples at a time.

With windows written side by side as rows a convolution and its kernel's gradient become matrix products. That
pays where windows lie side by side anyway; where XLA's convolution is nearly idle, since it computes output
channels side by side and they are few; and where it runs on one core. The windows of a large batch would have
to come from memory; those of a few examples stay in the cache.
"""

from collections.abc import Sequence
from functools import reduce
from itertools import accumulate, chain, product
from math import prod

import jax
import numpy as np
from jax import lax

from jaxnn.kernels.convolution.problem import (
    Settings,
    padded,
    padded_copy,
    shifted,
    summed_products,
    times,
)
from jaxnn.kernels.lowering.fusion import materialized
from jaxnn.kernels.lowering.places import place, strided
from jaxnn.kernels.padding import padded as padded_at

#: Up to so many parts of at least so many channels are put side by side as a sum of padded parts. It takes
#: half the time of a concatenation or as long, and a fifth of its time to compile (2 to 7 parts of 16 and of
#: 64 channels, AVX2 and AVX-512).
_FEW_PARTS, _WIDE = 3, 32
#: Windows of several lines and more taps than the first number are gathered, if up to the second number of
#: floats are written: one loop takes a tenth to a third of the time to compile that a slice per tap and a
#: concatenation take, and 0.3 to 1.0 of their time to run; with more floats up to 1.25. (JAX 0.10 with
#: AVX-512 and AVX2, 0.12 with AVX-512.) The places of one example are a constant of the program.
_TAPS, _GATHERED = 4, 100_000
#: More parts, or wide ones, are not fused with their concatenation. So they are read at places that XLA does
#: not know, by one loop for all: half to a fifth of the time to compile, and as long to run.
_FUSED_PARTS = 8


def floats(s: Settings, c_in: int, c_out: int) -> int:
    """How many floats are written out per example."""
    return prod(s.out) * floats_per_place(s, c_in, c_out)


def floats_per_place(s: Settings, c_in: int, c_out: int) -> int:
    """How many floats are written out per place of y."""
    return _per_place(s, c_in, c_out)[is_by_rows(s, c_in, c_out)]


def multiplies_by_zeros(s: Settings, c_in: int, c_out: int) -> bool:
    """Whether ``kernel_gradient`` multiplies lines of x by zeros, where a row of the window skips them."""
    return is_by_rows(s, c_in, c_out)


def forward(x: jax.Array, kernel: jax.Array, s: Settings) -> jax.Array:
    """y[n, i, o] = Σ_j Σ_c x[n, s·i + d·j − low, c] · kernel[j, c, o]."""
    if not is_by_rows(s, *kernel.shape[-2:]):
        return times(_unfolded(x, s), lax.reshape(kernel, (prod(kernel.shape[:-1]), kernel.shape[-1])), s)
    rows, c_out = s.window[0], kernel.shape[-1]
    by_row = lax.transpose(kernel, (*range(1, s.rank + 1), 0, s.rank + 1))
    by_row = lax.reshape(by_row, (prod(by_row.shape[:-2]), rows * c_out))
    parts = lax.split(materialized(times(_unfolded(x, _line(s)), by_row, s)), (c_out,) * rows, s.rank + 1)
    return reduce(lax.add, (_cut(part, row, s) for row, part in enumerate(parts)))


def kernel_gradient(x: jax.Array, y: jax.Array, s: Settings) -> jax.Array:
    """kernel[j, c, o] = Σ_n Σ_i x[n, s·i + d·j − low, c] · y[n, i, o]."""
    c_in, c_out = x.shape[-1], y.shape[-1]
    if not is_by_rows(s, c_in, c_out):
        return summed_products(_unfolded(x, s), y, s, (*s.window, c_in), (c_out,))
    # The transpose: each row of the window meets the y it contributed to, and zeros on lines it doesn't read.
    before = [row * s.dilation[0] for row in range(s.window[0])]
    y = _beside([y] * len(before), [(lines, s.span[0] - 1 - lines) for lines in before])
    of_x, of_y = (*s.window[1:], c_in), (s.window[0], c_out)
    kernel = summed_products(_unfolded(x, _line(s)), y, s, of_x, of_y)
    return lax.transpose(kernel, (s.rank, *range(s.rank), s.rank + 1))


def is_by_rows(s: Settings, c_in: int, c_out: int) -> bool:
    """Whether the first axis of the window is not unfolded; the results of its rows are added up afterwards.

    So x is written out once per column of the window and y once per row, instead of x once per tap. Of few
    input channels that is more, and of a single line most of it isn't used.
    """
    whole, by_rows = _per_place(s, c_in, c_out)
    return s.window[0] > 2 and s.strides[0] == 1 < s.out[0] and by_rows <= whole


def _per_place(s: Settings, c_in: int, c_out: int) -> tuple[int, int]:
    """Floats that are written out per place of y, if windows are unfolded as a whole and if by rows."""
    return prod(s.window) * c_in, prod(s.window[1:]) * c_in + s.window[0] * c_out


def are_tiles(s: Settings) -> bool:
    """Whether windows lie side by side, or there is one per axis: unfolding them is one transposition."""
    axes = zip(s.window, s.strides, s.out, strict=True)
    return max(s.dilation) == 1 and all(k == step or n == 1 for k, step, n in axes)


def _line(s: Settings) -> Settings:
    """The convolution by one row of the window, for all rows of x that any of them reads."""
    (low, _), *others = s.padding
    high = s.out[0] + s.span[0] - 1 - s.space[0] - low
    return s._replace(window=(1, *s.window[1:]), padding=((low, high), *others))


def _cut(y: jax.Array, row: int, s: Settings) -> jax.Array:
    """The part of the result for all lines that one row of the window contributes to y."""
    return lax.slice_in_dim(y, row * s.dilation[0], row * s.dilation[0] + s.out[0], axis=1)


def _unfolded(x: jax.Array, s: Settings) -> jax.Array:
    """``(N, *space, C) → (N, *out, taps · C)``: what each window reads, side by side."""
    if are_tiles(s):
        # A pad fused with the transposition would be a loop of branches.
        x = padded_copy(x, s) if max(map(max, s.padding)) > 0 else padded(x, s)
        x = lax.reshape(x, (x.shape[0], *chain(*zip(s.out, s.window, strict=True)), x.shape[-1]))
        axes = (0, *range(1, 2 * s.rank, 2), *range(2, 2 * s.rank + 1, 2), 2 * s.rank + 1)
        return lax.reshape(lax.transpose(x, axes), (x.shape[0], *s.out, prod(s.window) * x.shape[-1]))
    x, taps, c = padded_copy(x, s), prod(s.window), x.shape[-1]
    if min(s.window) > 1 and taps > _TAPS and x.shape[0] * prod(s.out) * taps * c <= _GATHERED:
        return _gathered(x, s)
    fused = taps <= _FEW_PARTS or (taps <= _FUSED_PARTS and c < _WIDE)
    read = shifted if fused else _at_places
    parts = [read(x, tap, s.out, s) for tap in product(*map(range, s.window))]
    return _beside(parts, [(0, 0)] * len(parts))


def _gathered(x: jax.Array, s: Settings) -> jax.Array:
    """What each window reads of the padded ``x``, by a table of their places in an example."""
    n, *space, c = x.shape
    # One axis of the table per spatial axis, then one per axis of the window and one for the channels.
    table: np.ndarray = np.arange(c)
    strides = np.cumprod([c, *reversed(space)])[-2::-1]
    for axis, stride in enumerate(strides):
        starts, taps = np.arange(s.out[axis]) * s.strides[axis], np.arange(s.window[axis]) * s.dilation[axis]
        places = np.add.outer(starts, taps) * stride
        shape = [1] * (2 * s.rank + 1)
        shape[axis], shape[s.rank + axis] = places.shape
        table = table + places.reshape(shape)
    table = table.astype(np.int32).reshape(*s.out, prod(s.window) * c, 1)
    numbers = lax.GatherDimensionNumbers((0,), (1,), (1,))
    mode = lax.GatherScatterMode.PROMISE_IN_BOUNDS
    return lax.gather(lax.reshape(x, (n, prod(space) * c)), table, numbers, (n, 1), mode=mode)


def _at_places(x: jax.Array, tap: Sequence[int], out: Sequence[int], s: Settings) -> jax.Array:
    """What ``shifted`` gives, from places that XLA does not know."""
    axes = enumerate(zip(tap, s.dilation, out, s.strides, strict=True), 1)
    return strided(x, {axis: (place(j * d), size, step) for axis, (j, d, size, step) in axes})


def _beside(parts: Sequence[jax.Array], lines: Sequence[tuple[int, int]]) -> jax.Array:
    """The channels of all parts side by side, with so many lines of zeros before and after each part."""
    last, ends = parts[0].ndim - 1, list(accumulate(part.shape[-1] for part in parts))
    if len(parts) > _FEW_PARTS or ends[0] < _WIDE:
        return lax.concatenate(
            [padded_at(part, {1: pair}) for part, pair in zip(parts, lines, strict=True)], last
        )
    return reduce(
        lax.add,
        (
            padded_at(part, {1: pair, last: (end - part.shape[-1], ends[-1] - end)})
            for part, pair, end in zip(parts, lines, ends, strict=True)
        ),
    )
