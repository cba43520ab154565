"""Depthwise convolution as sums of shifted products: too few products per value for a matrix product."""

from collections.abc import Sequence
from functools import reduce
from itertools import product
from math import prod
from typing import Any

import jax
import numpy as np
from jax import lax

from jaxnn.kernels.convolution.problem import Settings, interleaved, padded, padded_copy, shifted
from jaxnn.kernels.lowering.varying import varying_as

#: Up to this many taps the fused loop pads while it reads; beyond, the padded input is stored first.
_PADDED = 4
#: From this many channels on XLA's loop over the channels alone is long enough.
_CHANNELS = 64


def forward(x: jax.Array, kernel: jax.Array, s: Settings) -> jax.Array:
    """y[n, i, c] = Σ_j x[n, s·i + d·j − low, c] · kernel[j, 0, c]: one fused loop.

    Of a group with several inputs and one output, as in the gradient of several outputs, the sum over them.
    """
    inputs, multiplier = kernel.shape[-2], kernel.shape[-1] // s.groups
    if inputs > 1:
        kernels = (lax.slice_in_dim(kernel, i, i + 1, axis=s.rank) for i in range(inputs))
        return reduce(lax.add, [forward(_every(x, i, inputs), k, s) for i, k in enumerate(kernels)])
    if multiplier > 1:
        kernels = (_every(kernel, i, multiplier) for i in range(multiplier))
        return interleaved([forward(x, kernel, s) for kernel in kernels], s.rank + 1)
    stored = prod(s.window) > _PADDED and max(map(max, s.padding)) > 0
    x = padded_copy(x, s) if stored else padded(x, s)
    kernel = lax.reshape(kernel, (prod(s.window), kernel.shape[-1]))
    places = np.arange(prod(s.window)).reshape(s.window)

    def line(first: tuple[int, ...]) -> jax.Array:
        return reduce(lax.add, (term((*first, j)) for j in range(s.window[-1])))

    def term(tap: tuple[int, ...]) -> jax.Array:
        read, factor = shifted(x, tap, s.out, s), lax.index_in_dim(kernel, places[tap], 0, keepdims=False)
        return lax.mul(read, lax.broadcast_in_dim(factor, read.shape, (read.ndim - 1,)))

    # One sum per line of the window: shorter chains of additions than one sum for all taps.
    return reduce(lax.add, map(line, product(*map(range, s.window[:-1]))))


def kernel_gradient(x: jax.Array, y: jax.Array, s: Settings) -> jax.Array:
    """kernel[j, 0, c] = Σ_n Σ_i x[n, s·i + d·j − low, c] · y[n, i, c].

    One reduction per tap would read x and y once per tap. A loop over the rows of y reads them once and adds
    to one row of sums per tap; these rows stay in the cache.
    """
    multiplier = y.shape[-1] // s.groups
    if multiplier > 1:
        parts = (_every(y, i, multiplier) for i in range(multiplier))
        return interleaved([kernel_gradient(x, part, s) for part in parts], s.rank + 1)
    x, space = padded_copy(x, s), y.shape[-2:]
    if s.strides[-1] == 1 and space[-1] < _CHANNELS:
        # The last axis and the channels are merged into one line: one place further is all channels further.
        x, y = (lax.reshape(a, (*a.shape[:-2], a.shape[-2] * a.shape[-1], 1)) for a in (x, y))
        s = s._replace(dilation=(*s.dilation[:-1], s.dilation[-1] * space[-1]))
    rows, row = (y.shape[0], *s.out[:-1]), y.shape[-2:]
    # The taps of all axes but the last side by side: one fused loop per tap would compile slowly.
    beside = s._replace(strides=(*s.dilation[:-1], s.strides[-1]))
    taps = [(*(0,) * (s.rank - 1), j) for j in range(s.window[-1])]

    def times(one_x: jax.Array, one_y: jax.Array) -> jax.Array:
        one_y = lax.broadcast_in_dim(one_y, one_x.shape, range(one_x.ndim))
        return lax.squeeze(lax.mul(one_x, one_y), (0,))

    def add(t: jax.Array, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        at = _unravel(t, rows)
        one_y = _slice(y, (*at, 0, 0), (*(1,) * len(rows), *row))
        steps = (lax.mul(i, _like(step, i)) for i, step in zip(at[1:], s.strides, strict=False))
        one_x = _slice(x, (at[0], *steps, 0, 0), (1, *s.span[:-1], *x.shape[-2:]))
        size = (*s.window[:-1], row[0])
        return tuple(
            lax.add(total, times(shifted(one_x, tap, size, beside), one_y))
            for total, tap in zip(sums, taps, strict=True)
        )

    zeros = varying_as((lax.full((*s.window[:-1], *row), 0, y.dtype),) * len(taps), (x, y))
    sums = lax.fori_loop(0, prod(rows), add, zeros)
    # Reduced one by one: side by side first, they would take five times as long to compile.
    lines = (lax.reshape(total, (*s.window[:-1], *space)) for total in sums)
    summed = [lax.expand_dims(lax.reduce_sum(line, (s.rank - 1,)), (s.rank - 1,)) for line in lines]
    return lax.expand_dims(lax.concatenate(summed, s.rank - 1), (s.rank,))


def _every(a: jax.Array, first: int, step: int) -> jax.Array:
    """Every ``step``-th channel from ``first`` on."""
    return lax.slice_in_dim(a, first, None, step, a.ndim - 1)


def _slice(a: jax.Array, starts: Sequence[Any], sizes: Sequence[int]) -> jax.Array:
    return lax.dynamic_slice(a, starts, sizes, allow_negative_indices=False)


def _unravel(t: jax.Array, shape: Sequence[int]) -> tuple[jax.Array, ...]:
    """The ``t``-th index of an array of this shape."""
    at: list[jax.Array] = []
    for size in reversed(shape[1:]):
        at.insert(0, lax.rem(t, _like(size, t)))
        t = lax.div(t, _like(size, t))
    return (t, *at)


def _like(n: int, index: jax.Array) -> np.ndarray:
    """``n`` in the dtype of a loop's index: int32, or int64 where x64 is on."""
    return np.asarray(n, index.dtype)
