"""Convolutions whose window is a single value: matrix products."""

import jax
from jax import lax

from jaxnn.kernels.convolution.problem import Settings, pad, shifted, summed_products, times


def forward(x: jax.Array, kernel: jax.Array, s: Settings) -> jax.Array:
    """y[n, i, o] = Σ_c x[n, s·i − low, c] · kernel[0, c, o]."""
    return times(_only_tap(x, s), lax.reshape(kernel, kernel.shape[-2:]), s)


def kernel_gradient(x: jax.Array, y: jax.Array, s: Settings) -> jax.Array:
    """kernel[0, c, o] = Σ_n Σ_i x[n, s·i − low, c] · y[n, i, o]."""
    return summed_products(_only_tap(x, s), y, s, (*s.window, x.shape[-1]), y.shape[-1:])


def _only_tap(x: jax.Array, s: Settings) -> jax.Array:
    """The values of x that windows of one tap read."""
    return shifted(pad(x, s.padding), (0,) * s.rank, s.out, s)
