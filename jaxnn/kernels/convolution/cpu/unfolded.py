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
from jaxnn.kernels.padding import padded as padded_at

#: Up to so many parts of at least so many channels are put side by side as a sum of padded parts. It takes
#: half the time of a concatenation or as long, and a fifth of its time to compile (2 to 7 parts of 16 and of
#: 64 channels, AVX2 and AVX-512).
_FEW_PARTS, _WIDE = 3, 32


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
        x = lax.reshape(padded(x, s), (x.shape[0], *chain(*zip(s.out, s.window, strict=True)), x.shape[-1]))
        axes = (0, *range(1, 2 * s.rank, 2), *range(2, 2 * s.rank + 1, 2), 2 * s.rank + 1)
        return lax.reshape(lax.transpose(x, axes), (x.shape[0], *s.out, prod(s.window) * x.shape[-1]))
    x = padded_copy(x, s)
    parts = [shifted(x, tap, s.out, s) for tap in product(*map(range, s.window))]
    return _beside(parts, [(0, 0)] * len(parts))


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
