"""Grouped convolution as a few dense ones.

Large groups are one dense convolution each. Small ones would leave a matrix unit idle, so several are taken
together, with a kernel that is zero between them.
"""

import jax
import numpy as np
from jax import lax

from jaxnn.kernels.convolution.problem import Dense, Settings
from jaxnn.kernels.lowering.places import split


def forward(dense: Dense, x: jax.Array, kernel: jax.Array, s: Settings, m: int) -> jax.Array:
    """The convolution, by one dense convolution per ``m`` groups."""
    *window, c_in, c_out = kernel.shape
    blocks = s.groups // m
    if m > 1:
        shape = (*window, m, c_in, blocks, m, c_out // s.groups)
        kernel = lax.reshape(kernel, (*window, *shape[s.rank + 1 :]))
        kernel = lax.broadcast_in_dim(kernel, shape, (*range(s.rank), *range(s.rank + 1, s.rank + 5)))
        kernel = _own(kernel, s.rank, s.rank + 3)
        kernel = lax.reshape(kernel, (*window, m * c_in, c_out))
    xs, kernels = _split(x, blocks), _split(kernel, blocks)
    one = s._replace(groups=1)
    parts = [dense(part, kernel, one) for part, kernel in zip(xs, kernels, strict=True)]
    return lax.concatenate(parts, s.rank + 1)


def kernel_gradient(dense: Dense, x: jax.Array, y: jax.Array, s: Settings, m: int) -> jax.Array:
    """The kernel's gradient: that of each dense convolution, without what lies between two groups."""
    c_in, c_out = x.shape[-1] // s.groups, y.shape[-1] // s.groups
    blocks, one = s.groups // m, s._replace(groups=1)
    parts = []
    for some_x, some_y in zip(_split(x, blocks), _split(y, blocks), strict=True):
        kernel = dense(some_x, some_y, one)
        if m > 1:
            kernel = _own(lax.reshape(kernel, (*s.window, m, c_in, m, c_out)), s.rank, s.rank + 2)
            kernel = lax.reshape(lax.reduce_sum(kernel, (s.rank,)), (*s.window, c_in, m * c_out))
        parts.append(kernel)
    return lax.concatenate(parts, s.rank + 1)


def _split(a: jax.Array, parts: int) -> list[jax.Array]:
    """Equal parts of the last axis."""
    return split(a, parts, a.ndim - 1)


def _own(a: jax.Array, one: int, other: int) -> jax.Array:
    """``a`` with zeros where two axes, of groups, have different indices."""
    same = lax.broadcast_in_dim(np.eye(a.shape[one], dtype=bool), a.shape, (one, other))
    return lax.select(same, a, lax.full_like(a, 0))
