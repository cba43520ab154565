"""Convolution of few channels with one axis less: the last axis joins the channels, the kernel is banded.

XLA's code for CPUs computes output channels side by side, and is nearly idle if there are few. With a whole
line of x and of y as the channels there are many. The kernel between two lines is zero outside a band, so
more products are computed, but the rate rises by more than their number.
"""

import jax
import numpy as np
from jax import lax

from jaxnn.kernels.convolution.problem import Dense, Settings


def forward(dense: Dense, x: jax.Array, kernel: jax.Array, s: Settings) -> jax.Array:
    """y[n, i, o] = Σ_j Σ_c x[n, s·i + d·j − low, c] · kernel[j, c, o], by ``dense`` at a lower rank."""
    *window, taps, c_in, c_out = kernel.shape
    # One where a tap of an output reads a place of the line, zero elsewhere: (taps, places, outputs).
    tap, place, out = np.ogrid[:taps, : s.space[-1], : s.out[-1]]
    reads = place == out * s.strides[-1] + tap * s.dilation[-1] - s.padding[-1][0]
    band = lax.dot_general(reads.astype(kernel.dtype), kernel, (((0,), (kernel.ndim - 3,)), ((), ())))
    # (places, outputs, *window, C_in, C_out), with the channels of a line varying fastest.
    rank = len(window)
    order = (*range(2, rank + 2), 0, rank + 2, 1, rank + 3)
    shape = (*window, s.space[-1] * c_in, s.out[-1] * c_out)
    band = lax.reshape(lax.transpose(band, order), shape)
    lines = Settings(
        s.space[:-1], s.window[:-1], s.strides[:-1], s.padding[:-1], s.dilation[:-1], precision=s.precision
    )
    y = dense(lax.reshape(x, (*x.shape[:-2], s.space[-1] * c_in)), band, lines)
    return lax.reshape(y, (x.shape[0], *s.out, c_out))
