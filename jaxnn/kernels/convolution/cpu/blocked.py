"""Convolution of few channels: several neighbouring outputs are computed as channels of one.

XLA's code for CPUs computes output channels side by side, and is nearly idle if there are few. The kernel of
a block of outputs holds the kernel once per output, each one a stride further, and zeros elsewhere. So more
products are computed, but the rate rises by more than their number.
"""

import jax
from jax import lax

from jaxnn.kernels.convolution.problem import Dense, Settings
from jaxnn.kernels.padding import padded


def forward(dense: Dense, x: jax.Array, kernel: jax.Array, s: Settings, m: int) -> jax.Array:
    """y[n, i, o] = Σ_j Σ_c x[n, s·i + d·j − low, c] · kernel[j, c, o], ``m`` outputs at a time."""
    c_in, c_out = kernel.shape[-2:]
    blocks = _blocks(s, m)
    y = dense(x, lax.reshape(copies(kernel, s, m), (*blocks.window, c_in, m * c_out)), blocks)
    return lax.reshape(y, (x.shape[0], *s.out, c_out))


def copies(kernel: jax.Array, s: Settings, m: int) -> jax.Array:
    """The kernel ``m`` times, each a stride further along the last axis, with zeros around it.

    ``(*window, I, O) → (*window, I, m, O)``, with room for all ``m`` in the last axis of the window.
    """
    *window, _, c_in, c_out = kernel.shape
    last, span = s.rank - 1, s.span[-1] + s.strides[-1] * (m - 1)
    kernel = _with_zeros(kernel, s.strides[-1] * m, s.dilation[-1] - 1)
    own = (*range(last), *range(last + 1, last + 4))
    kernel = lax.broadcast_in_dim(kernel, (*window, m, *kernel.shape[last:]), own)
    # Rows one stride longer than the span, cut anew to its length: each begins a stride later.
    kernel = lax.reshape(kernel, (*window, m * kernel.shape[last + 1], c_in, c_out))
    kernel = lax.slice_in_dim(kernel, 0, m * span, axis=last)
    kernel = lax.reshape(kernel, (*window, m, span, c_in, c_out))
    return lax.transpose(kernel, (*range(last), last + 1, last + 2, last, last + 3))


def kernel_gradient(by_input: Dense, x: jax.Array, y: jax.Array, s: Settings, m: int) -> jax.Array:
    """kernel[j, c, o] = Σ_n Σ_i x[n, s·i + d·j − low, c] · y[n, i, o], a sum over the places in a block.

    ``by_input`` gives the gradient of the kernel of a block with its input channels first.
    """
    window, c_in, c_out = s.window[:-1], x.shape[-1], y.shape[-1]
    blocks, last = _blocks(s, m), s.rank - 1
    span = blocks.window[-1]
    kernel = by_input(x, lax.reshape(y, (*y.shape[:-2], s.out[-1] // m, m * c_out)), blocks)
    kernel = lax.reshape(kernel, (c_in, *window, span, m, c_out))
    kernel = lax.transpose(kernel, (*range(1, s.rank), s.rank + 1, s.rank, 0, s.rank + 2))
    # The reverse of the above: rows one stride longer align the taps of all outputs.
    kernel = _with_zeros(lax.reshape(kernel, (*window, m * span, c_in, c_out)), s.strides[-1] * m)
    kernel = lax.reshape(kernel, (*window, m, span + s.strides[-1], c_in, c_out))
    kernel = lax.slice_in_dim(kernel, 0, s.span[-1], s.dilation[-1], last + 1)
    return lax.reduce_sum(kernel, (last,))


def _blocks(s: Settings, m: int) -> Settings:
    """The convolution that gives ``m`` outputs of the last axis at a time."""
    step = s.strides[-1]
    return s._replace(
        window=(*s.window[:-1], s.span[-1] + step * (m - 1)),
        strides=(*s.strides[:-1], step * m),
        dilation=(*s.dilation[:-1], 1),
    )


def _with_zeros(kernel: jax.Array, after: int, between: int = 0) -> jax.Array:
    """The kernel with zeros after the taps of its last axis, and between them."""
    return padded(kernel, {kernel.ndim - 3: (0, after, between)})
