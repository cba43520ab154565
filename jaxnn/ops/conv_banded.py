"""Convolution of few channels with one axis less: the last axis joins the channels, the kernel is a band.

XLA's code for CPUs computes output channels side by side, and is nearly idle if there are few. With a line of
x as the channels, and one of y, there are many. The kernel between two lines is zero but for a band, so there
are more products, at a rate that is higher by more. What is not finite in a line reaches all of it.
"""

from math import inf, prod

import jax
import numpy as np
from jax import lax

from jaxnn.ops.conv_settings import Dense, Settings

#: The most channels and pairs of channels that count as few, the largest kernel of bands, in values, and the
#: fewest lines that are worth making it.
_CHANNELS, _PAIRS, _VALUES, _LINES = 16, 100, 2**18, 64
#: Blocks shorter than a line do as well if they have so many channels, but for wide windows and many lines.
_BLOCK, _WIDE, _MANY = 16, 5, 2048


def applies(s: Settings, batch: int, c_in: int, c_out: int, block: int) -> bool:
    """Whether channels are few and lines short, and a ``block`` of outputs has too few channels."""
    if s.rank == 1 or prod(s.window) == 1 or not isinstance(batch, int):
        return False
    values = prod(s.window[:-1]) * s.space[-1] * s.out[-1] * c_in * c_out
    few = max(c_in, c_out) <= _CHANNELS and c_in * c_out <= _PAIRS
    lines = batch * prod(s.out[:-1])
    enough = lines >= (_LINES if block < _BLOCK else _MANY if s.window[-1] >= _WIDE else inf)
    return few and values <= _VALUES and enough


def forward(dense: Dense, x: jax.Array, kernel: jax.Array, s: Settings) -> jax.Array:
    """y[n, i, o] = Σ_j Σ_c x[n, s·i + d·j − low, c] · kernel[j, c, o], by a ``dense`` one of lower rank."""
    *window, taps, c_in, c_out = kernel.shape
    # Which place of the line the tap of an output reads: (taps, places, outputs), one or zero.
    tap, place, out = np.ogrid[:taps, : s.space[-1], : s.out[-1]]
    reads = place == out * s.strides[-1] + tap * s.dilation[-1] - s.padding[-1][0]
    band = lax.dot_general(reads.astype(kernel.dtype), kernel, (((0,), (kernel.ndim - 3,)), ((), ())))
    # (places, outputs, *window, C_in, C_out), and the channels of a line are the faster ones.
    rank = len(window)
    order = (*range(2, rank + 2), 0, rank + 2, 1, rank + 3)
    band = band.transpose(order).reshape(*window, s.space[-1] * c_in, s.out[-1] * c_out)
    lines = Settings(
        s.space[:-1], s.window[:-1], s.strides[:-1], s.padding[:-1], s.dilation[:-1], precision=s.precision
    )
    y = dense(x.reshape(*x.shape[:-2], -1), band, lines)
    return y.reshape(x.shape[0], *s.out, c_out)
