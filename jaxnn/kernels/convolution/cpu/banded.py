"""Convolution of few channels with one axis less: the last axis joins the channels, the kernel is banded.

XLA's code for CPUs computes output channels side by side, and is nearly idle if there are few. With a whole
line of x and of y as the channels there are many. The kernel between two lines is zero outside a band, so
more products are computed, but the rate rises by more than their number.
"""

import jax
from jax import lax

from jaxnn.kernels.convolution.cpu.blocked import copies
from jaxnn.kernels.convolution.problem import Dense, Settings
from jaxnn.kernels.padding import padded


def forward(dense: Dense, x: jax.Array, kernel: jax.Array, s: Settings) -> jax.Array:
    """y[n, i, o] = Σ_j Σ_c x[n, s·i + d·j − low, c] · kernel[j, c, o], by ``dense`` at a lower rank."""
    (low, _), n, c_in, c_out = s.padding[-1], s.space[-1], *kernel.shape[-2:]
    band = copies(kernel, s, s.out[-1])
    # From places of the padded line to those of the line: (*window, places, C_in, outputs, C_out).
    band = padded(band, {s.rank - 1: (-low, n + low - band.shape[s.rank - 1])})
    band = lax.reshape(band, (*s.window[:-1], n * c_in, s.out[-1] * c_out))
    lines = Settings(
        s.space[:-1], s.window[:-1], s.strides[:-1], s.padding[:-1], s.dilation[:-1], precision=s.precision
    )
    y = dense(lax.reshape(x, (*x.shape[:-2], n * c_in)), band, lines)
    return lax.reshape(y, (x.shape[0], *s.out, c_out))
