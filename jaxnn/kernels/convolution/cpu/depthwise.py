"""Depthwise convolution as sums of shifted products: too few products per value for a matrix product."""

from collections.abc import Sequence
from functools import reduce
from itertools import product
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.kernels.convolution.problem import Settings, interleaved, padded, padded_copy, shifted
from jaxnn.kernels.lowering.places import place
from jaxnn.kernels.lowering.varying import varying_as

#: Up to this many taps the fused loop pads while it reads; beyond, the padded input is stored first.
_PADDED = 4
#: From this many channels on XLA's loop over the channels alone is long enough.
_CHANNELS = 64
#: Sums of at least this many values in the kernel's gradient: the taps of the last axis begin at places that
#: XLA does not know, so that their loops are one, compiled once. Shorter ones then take up to 1.3 times as
#: long to run (JAX 0.10 and 0.12).
_LONG = 2048
#: The most values of a constant, 256 kB.
_CONSTANT = 2**16


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
    x, (places, channels), step, further = padded_copy(x, s), y.shape[-2:], s.strides[-1], s.dilation[-1]
    if step == 1 and channels < _CHANNELS:
        # The last axis and the channels are merged into one line: one place further is all channels further.
        x, y = (lax.reshape(a, (*a.shape[:-2], a.shape[-2] * a.shape[-1])) for a in (x, y))
        further *= channels
    rows, line = (y.shape[0], *s.out[:-1]), y.shape[s.rank :]
    # The taps of all axes but the last lie side by side in one loop.
    shape = (*s.window[:-1], *line)
    starts: list[Any] = [tap * further for tap in range(s.window[-1])]
    starts = list(map(place, starts)) if prod(shape) >= _LONG else starts
    reach, steps = (*s.span[:-1], (line[0] - 1) * step + 1, *line[1:]), (*s.dilation[:-1], step)

    def add(t: jax.Array, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        n, *at = _unravel(t, rows)
        one_y = _slice(y, (n, *at, *[0] * len(line)), (*[1] * len(rows), *line))
        first = [lax.mul(i, _like(stride, i)) for i, stride in zip(at, s.strides, strict=False)]

        def products(start: Any) -> jax.Array:
            start = lax.convert_element_type(start, t.dtype)
            one_x = _slice(x, (n, *first, start, *[0] * (len(line) - 1)), (1, *reach))
            one_x = lax.slice(one_x, (0,) * x.ndim, one_x.shape, (1, *steps, *[1] * (len(line) - 1)))
            return lax.squeeze(lax.mul(one_x, lax.broadcast_in_dim(one_y, one_x.shape, range(x.ndim))), (0,))

        return tuple(lax.add(total, products(start)) for total, start in zip(sums, starts, strict=True))

    zeros = varying_as((_zeros(shape, y.dtype),) * len(starts), (x, y))
    sums = lax.fori_loop(0, prod(rows), add, zeros)
    # Reduced one by one: side by side first, they would take five times as long to compile.
    lines = (lax.reshape(total, (*s.window[:-1], places, channels)) for total in sums)
    summed = (lax.reduce_sum(line, (s.rank - 1,)) for line in lines)
    # Concatenated on two axes: from 64 channels on XLA then copies the parts, without a loop of branches.
    columns = [lax.reshape(tap, (prod(s.window[:-1]), channels)) for tap in summed]
    return lax.reshape(lax.concatenate(columns, 1), (*s.window, 1, channels))


def _zeros(shape: Sequence[int], dtype: Any) -> jax.Array:
    """What sums begin with, a constant of the program if it is small.

    XLA writes a constant of equal values by a loop, which takes as long to compile as one that multiplies and
    adds. So the first value is −0.
    """
    if prod(shape) > _CONSTANT:
        return lax.full(shape, 0, dtype)
    zeros = np.zeros(shape, dtype)
    zeros.flat[:1] = -0.0
    return jnp.asarray(zeros)


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
