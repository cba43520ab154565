"""Grouped convolution as a few dense ones.

Large groups are one dense convolution each. Small ones would leave a matrix unit idle, so several are taken
together, with a kernel that is zero between them.
"""

import jax
import jax.numpy as jnp

from jaxnn.kernels.convolution.problem import Dense, Settings


def forward(dense: Dense, x: jax.Array, kernel: jax.Array, s: Settings, m: int) -> jax.Array:
    """The convolution, by one dense convolution per ``m`` groups."""
    *window, c_in, c_out = kernel.shape
    blocks = s.groups // m
    # (*window, I, blocks, m, O) times the identity of (m, m): zero between two groups.
    kernel = kernel.reshape(*window, 1, c_in, blocks, m, c_out // s.groups)
    if m > 1:
        same = jnp.eye(m, dtype=kernel.dtype).reshape(*(1,) * len(window), m, 1, 1, m, 1)
        kernel = kernel * same
    kernel = kernel.reshape(*window, m * c_in, blocks, m * c_out // s.groups)
    one = s._replace(groups=1)
    parts = [dense(part, kernel[..., i, :], one) for i, part in enumerate(jnp.split(x, blocks, -1))]
    return jnp.concatenate(parts, -1)


def kernel_gradient(dense: Dense, x: jax.Array, y: jax.Array, s: Settings, m: int) -> jax.Array:
    """The kernel's gradient: that of each dense convolution, without what lies between two groups."""
    c_in, c_out = x.shape[-1] // s.groups, y.shape[-1] // s.groups
    blocks = s.groups // m
    one = s._replace(groups=1)
    parts = []
    for some_x, some_y in zip(jnp.split(x, blocks, -1), jnp.split(y, blocks, -1), strict=True):
        full = dense(some_x, some_y, one).reshape(*s.window, m, c_in, m, c_out)
        own = jnp.diagonal(full, axis1=-4, axis2=-2)  # (*window, I, O, m)
        parts.append(jnp.swapaxes(own, -1, -2).reshape(*s.window, c_in, m * c_out))
    return jnp.concatenate(parts, -1)
