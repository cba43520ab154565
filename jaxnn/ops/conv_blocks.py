"""Convolution of few channels: several neighbouring outputs are computed as so many channels of one.

XLA's code for CPUs computes output channels side by side, and is nearly idle if there are few. The kernel of
a block of outputs holds the kernel once for each of them, a stride further each time, and zeros elsewhere.
So there are more products, at a rate that is higher by more. What is not finite reaches all of its block.
"""

from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.ops.conv_settings import Dense, Settings, fit

#: The most input channels and pairs of channels that count as few; for the kernel gradient the most output
#: channels and the largest batch, which then takes the place of the input channels.
_FEW_IN, _PAIRS, _FEW_OUT, _BATCH = 16, 100, 15, 16
#: The most outputs of a block and the channels it may have, the shortest line and the fewest outputs of all.
_OUTPUTS, _CHANNELS, _LINE, _LEAST = 8, 32, 8, 256
#: With an odd number of input channels XLA is slow at more channels than the first and up to the second.
_SLOW = 16, 32


def together(s: Settings, batch: int, c_in: int, c_out: int) -> int:
    """How many outputs of the last axis to take together, a divisor of their number."""
    few = c_in <= _FEW_IN and c_in * c_out <= _PAIRS
    if not few or not isinstance(batch, int) or batch * prod(s.out) < _LEAST:
        return 1
    if c_in == 1 or c_in % 2 == 0:
        return _divisor(s, _CHANNELS // s.strides[-1] // c_out)
    most = _divisor(s, 2 * _CHANNELS // c_out)
    return most if most * c_out > _SLOW[1] else _divisor(s, _SLOW[0] // c_out)


def together_for_kernel(s: Settings, batch: int, c_out: int) -> int:
    """The same for the gradient of the kernel."""
    few = isinstance(batch, int) and batch <= _BATCH and c_out <= _FEW_OUT
    return _divisor(s, _CHANNELS // c_out) if few else 1


def at_once(s: Settings, c_in: int, c_out: int) -> bool:
    """Whether the phases of an input gradient are few channels together, from few."""
    plain = s.groups == 1 and max(s.dilation) == 1 < max(s.strides)
    return plain and c_in * prod(s.strides) <= _CHANNELS and c_out <= _CHANNELS


def _divisor(s: Settings, most: int) -> int:
    outputs = s.out[-1]
    most = min(most, _OUTPUTS, outputs // 2) if outputs >= _LINE else 1
    return max((m for m in range(1, most + 1) if outputs % m == 0), default=1)


def forward(dense: Dense, x: jax.Array, kernel: jax.Array, s: Settings, m: int) -> jax.Array:
    """y[n, i, o] = Σ_j Σ_c x[n, s·i + d·j − low, c] · kernel[j, c, o], ``m`` outputs at a time."""
    *window, _, c_in, c_out = kernel.shape
    blocks = _blocks(s, m)
    kernel = _with_zeros(kernel, s.strides[-1] * m, s.dilation[-1] - 1)
    kernel = jnp.broadcast_to(jnp.expand_dims(kernel, -4), (*window, m, *kernel.shape[-3:]))
    # Rows longer than the window by a stride, cut into rows as long as it: each begins a stride later.
    kernel = kernel.reshape(*window, -1, c_in, c_out)[..., : m * blocks.window[-1], :, :]
    kernel = jnp.moveaxis(kernel.reshape(*window, m, -1, c_in, c_out), -4, -2)
    y = dense(x, kernel.reshape(*blocks.window, c_in, m * c_out), blocks)
    return y.reshape(x.shape[0], *s.out, c_out)


def input_gradient(dense: Dense, kernel: jax.Array, y: jax.Array, s: Settings) -> jax.Array:
    """x[n, s·i + j − low, c] += y[n, i, o] · kernel[j, c, o], all places of a stride as so many channels."""
    c_in, c_out = kernel.shape[-2:]
    spans, sizes, taps, padding = [], [], [], []
    for out, n, k, step, (low, _) in zip(s.out, s.space, s.window, s.strides, s.padding, strict=True):
        # So many zeros before the taps and after them: those that meet one y at a stride follow each other.
        before = -low % step
        sizes.append(-(-n // step))
        taps.append(-(-(before + k) // step))
        spans.append((before, taps[-1] * step - before - k, 0))
        first = taps[-1] - 1 - (low + before) // step
        padding.append((first, sizes[-1] + taps[-1] - 1 - out - first))
    kernel = lax.pad(kernel, jnp.zeros((), kernel.dtype), (*spans, (0, 0, 0), (0, 0, 0)))
    kernel = kernel.reshape(*(n for pair in zip(taps, s.strides, strict=True) for n in pair), c_in, c_out)
    # (taps, stride, taps, stride, …, I, O) to (taps, taps, …, O, strides and I), the taps reversed.
    rank = s.rank
    axes = (*range(0, 2 * rank, 2), 2 * rank + 1, *range(1, 2 * rank, 2), 2 * rank)
    kernel = lax.rev(kernel, range(0, 2 * rank, 2)).transpose(axes).reshape(*taps, c_out, -1)
    one = (1,) * rank
    x = dense(y, kernel, Settings(s.out, tuple(taps), one, tuple(padding), one, precision=s.precision))
    x = x.reshape(x.shape[0], *sizes, *s.strides, c_in)
    beside = (axis for i in range(1, rank + 1) for axis in (i, rank + i))
    x = x.transpose(0, *beside, 2 * rank + 1)
    shape = (size * step for size, step in zip(sizes, s.strides, strict=True))
    return fit(x.reshape(x.shape[0], *shape, c_in), [0] * rank, s.space)


def kernel_gradient(dense: Dense, x: jax.Array, y: jax.Array, s: Settings, m: int) -> jax.Array:
    """kernel[j, c, o] = Σ_n Σ_i x[n, s·i + d·j − low, c] · y[n, i, o], a sum over the places in a block."""
    window, c_in, c_out = s.window[:-1], x.shape[-1], y.shape[-1]
    blocks = _blocks(s, m)
    kernel = dense(x, y.reshape(*y.shape[:-2], s.out[-1] // m, m * c_out), blocks)
    kernel = jnp.moveaxis(kernel.reshape(*blocks.window, c_in, m, c_out), -2, -4)
    # The other way round: rows longer by a stride bring the taps of all below each other.
    kernel = _with_zeros(kernel.reshape(*window, -1, c_in, c_out), s.strides[-1] * m)
    kernel = kernel.reshape(*window, m, -1, c_in, c_out)
    return lax.slice_in_dim(kernel, 0, s.span[-1], s.dilation[-1], kernel.ndim - 3).sum(-4)


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
    pairs = [(0, 0, 0)] * kernel.ndim
    pairs[-3] = (0, after, between)
    return lax.pad(kernel, jnp.zeros((), kernel.dtype), pairs)
