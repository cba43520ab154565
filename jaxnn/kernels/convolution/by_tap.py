"""Grouped convolution, tap by tap: for a batch spread over devices.

XLA splits the examples of a batched matrix product among devices. For a grouped convolution, for lax's
gradients of it and for a loop over rows it gathers the whole batch on every device instead.
"""

from math import gcd

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.kernels.convolution.problem import Settings, padded
from jaxnn.kernels.dtypes import accumulator
from jaxnn.kernels.lowering.varying import varying_as


def forward(x: jax.Array, kernel: jax.Array, s: Settings) -> jax.Array:
    """y[n, i, o] = Σ_j Σ_c x[n, s·i + d·j − low, c] · kernel[j, c, o]."""
    c_in, c_out = kernel.shape[-2:]
    x, last = padded(x, s), s.rank + 1
    each_group = kernel.reshape(-1, c_in, s.groups, c_out // s.groups)

    def add(y: jax.Array, tap: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        start, matrices = tap
        read = _by_group(_read(x, start, s), s)
        numbers = ((last + 1,), (0,)), ((last,), (1,))
        term = lax.dot_general(read, matrices, numbers, precision=s.precision, preferred_element_type=y.dtype)
        return y + term, None  # (groups, N, *out, O)

    zeros = jnp.zeros((s.groups, x.shape[0], *s.out, c_out // s.groups), accumulator(x.dtype))
    y, _ = lax.scan(add, varying_as(zeros, (x, kernel)), (_starts(s), each_group))
    return jnp.moveaxis(y, 0, -2).reshape(x.shape[0], *s.out, c_out)


def input_gradient(kernel: jax.Array, y: jax.Array, s: Settings) -> jax.Array:
    """x[n, s·i + d·j − low, c] += y[n, i, o] · kernel[j, c, o]."""
    wide = accumulator(y.dtype)  # the sum over taps is taken in the dtype of x
    kernel, y = kernel.astype(wide), y.astype(wide)
    shape = (y.shape[0], *s.space, kernel.shape[-2] * s.groups)
    like = varying_as(jnp.zeros(shape, wide), (kernel, y))
    (x,) = jax.linear_transpose(lambda x: forward(x, kernel, s), like)(y)
    return x


def kernel_gradient(x: jax.Array, y: jax.Array, s: Settings, devices: int) -> jax.Array:
    """kernel[j, c, o] = Σ_n Σ_i x[n, s·i + d·j − low, c] · y[n, i, o], first for each device's examples."""
    batch, x = x.shape[0], padded(x, s)
    # A batch of symbolic size can't be split, and each tap is then summed over the devices on its own.
    parts = gcd(batch, devices) if isinstance(batch, int) else 1

    def by_part(a: jax.Array) -> jax.Array:
        """(parts, N, *out, groups, channels)."""
        a = _by_group(a, s)
        return a.reshape(parts, batch // parts, *a.shape[1:])

    last, dy, wide = s.rank + 2, by_part(y), accumulator(y.dtype)
    summed, apart = tuple(range(1, last)), (0, last)

    def gradient(start: jax.Array) -> jax.Array:
        numbers = (summed, summed), (apart, apart)
        read = by_part(_read(x, start, s))
        return lax.dot_general(read, dy, numbers, precision=s.precision, preferred_element_type=wide)

    kernel = lax.map(gradient, _starts(s)).sum(1)  # (taps, groups, I, O)
    return jnp.swapaxes(kernel, 1, 2).reshape(*s.window, kernel.shape[2], -1)


def _starts(s: Settings) -> jax.Array:
    """Where in the padded input each tap of the first window lies: (taps, rank)."""
    places = np.indices(s.window).reshape(s.rank, -1).T * np.asarray(s.dilation)
    return jnp.asarray(places, jnp.int32)


def _read(x: jax.Array, start: jax.Array, s: Settings) -> jax.Array:
    """The values of the padded input that the tap starting at ``start`` reads: (N, *out, C)."""
    reach = ((n - 1) * step + 1 for n, step in zip(s.out, s.strides, strict=True))
    first = np.zeros((), start.dtype)  # where x64 is on, a Python 0 would be of another dtype than the starts
    read = lax.dynamic_slice(x, (first, *start, first), (x.shape[0], *reach, x.shape[-1]))
    return lax.slice(read, (0,) * x.ndim, read.shape, (1, *s.strides, 1))


def _by_group(a: jax.Array, s: Settings) -> jax.Array:
    """(N, *out, groups, channels)."""
    return a.reshape(*a.shape[:-1], s.groups, a.shape[-1] // s.groups)
