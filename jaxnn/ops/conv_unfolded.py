"""Convolution as matrix products of unfolded windows, a few examples at a time.

On CPUs XLA's convolution has half the rate of its matrix product where channels are few, and its kernel
gradient has less. Windows written side by side as rows make products of both. Those of a whole batch are many
times larger than the batch and would have to come from memory; those of a few examples stay in the cache.
"""

from itertools import product
from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.ops.conv_settings import Settings, fit, padded, shifted
from jaxnn.ops.stored import stored

#: The fewest and the most pairs of channels for which XLA's convolution is slow, and the fewest input
#: channels for which its kernel gradient is.
_PAIRS, _CHANNELS = (2048, 8192), 16


def applies(s: Settings, c_in: int, c_out: int) -> bool:
    """Whether XLA's own form of a convolution, or of the gradient of its input, is slower than a product."""
    return s.rank == 2 and s.groups == 1 and prod(s.window) > 1 and _PAIRS[0] <= c_in * c_out <= _PAIRS[1]


def applies_to_kernel(s: Settings, c_in: int) -> bool:
    """The same of the gradient of a kernel."""
    return s.rank == 2 and s.groups == 1 and prod(s.window) > 1 and c_in >= _CHANNELS


def floats(s: Settings, c_in: int, c_out: int) -> int:
    """How many ``forward`` writes out for an example."""
    if _is_by_rows(s):
        return prod(s.out) * (prod(s.window[1:]) * c_in + s.window[0] * c_out)
    return floats_for_kernel(s, c_in)


def floats_for_kernel(s: Settings, c_in: int) -> int:
    """How many ``kernel_gradient`` writes out for an example."""
    return prod(s.out) * prod(s.window) * c_in


def _is_by_rows(s: Settings) -> bool:
    return s.window[0] > 2 and s.strides[0] == 1


def forward(x: jax.Array, kernel: jax.Array, s: Settings) -> jax.Array:
    """y[n, i, o] = Σ_j Σ_c x[n, s·i + d·j − low, c] · kernel[j, c, o]."""
    if _is_by_rows(s):
        return _by_rows(x, kernel, s)
    return _product(_unfolded(x, s), kernel.reshape(-1, kernel.shape[-1]), s)


def _by_rows(x: jax.Array, kernel: jax.Array, s: Settings) -> jax.Array:
    """The window unfolded but for its first axis: what its rows give is added up afterwards.

    So x and y are written out as often as the window is wide and high, not x as often as it has values.
    """
    rows, c_out = s.window[0], kernel.shape[-1]
    step, reach = s.dilation[0], s.dilation[0] * (rows - 1)
    line = s._replace(
        space=(s.out[0] + reach, *s.space[1:]), window=(1, *s.window[1:]), padding=((0, 0), *s.padding[1:])
    )
    x = fit(x, [s.padding[0][0], *(0,) * (s.rank - 1)], line.space)
    y = stored(_product(_unfolded(x, line), jnp.moveaxis(kernel, 0, -2).reshape(-1, rows * c_out), s))
    terms = [
        lax.slice(
            y,
            (0, row * step, *(0,) * (s.rank - 1), row * c_out),
            (y.shape[0], row * step + s.out[0], *y.shape[2:-1], (row + 1) * c_out),
        )
        for row in range(rows)
    ]
    return sum(terms[1:], terms[0])


def kernel_gradient(x: jax.Array, y: jax.Array, s: Settings) -> jax.Array:
    """kernel[j, c, o] = Σ_n Σ_i x[n, s·i + d·j − low, c] · y[n, i, o]."""
    axes = tuple(range(s.rank + 1))
    kernel = lax.dot_general(_unfolded(x, s), y, ((axes, axes), ((), ())), precision=s.precision)
    return kernel.reshape(*s.window, x.shape[-1], y.shape[-1])


def _unfolded(x: jax.Array, s: Settings) -> jax.Array:
    """``(N, *space, C) → (N, *out, taps · C)``: what each window reads, side by side."""
    x = stored(padded(x, s))
    return jnp.concatenate([shifted(x, tap, s.out, s) for tap in product(*map(range, s.window))], -1)


def _product(rows: jax.Array, kernel: jax.Array, s: Settings) -> jax.Array:
    return lax.dot_general(rows, kernel, (((rows.ndim - 1,), (0,)), ((), ())), precision=s.precision)
