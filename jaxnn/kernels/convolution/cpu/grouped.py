"""Grouped convolution as a few dense ones.

Large groups are one dense convolution each. Small ones would leave a matrix unit idle, so several are taken
together, with a kernel that is zero between them.
"""

import jax
from jax import lax

from jaxnn.kernels.convolution.merging import merged, unmerged
from jaxnn.kernels.convolution.problem import Dense, Settings
from jaxnn.kernels.lowering.places import split


def forward(dense: Dense, x: jax.Array, kernel: jax.Array, s: Settings, m: int) -> jax.Array:
    """The convolution, by one dense convolution per ``m`` groups."""
    blocks = s.groups // m
    kernel = merged(kernel, s, m) if m > 1 else kernel
    xs, kernels = _split(x, blocks), _split(kernel, blocks)
    one = s._replace(groups=1)
    parts = [dense(part, kernel, one) for part, kernel in zip(xs, kernels, strict=True)]
    return lax.concatenate(parts, s.rank + 1)


def kernel_gradient(dense: Dense, x: jax.Array, y: jax.Array, s: Settings, m: int) -> jax.Array:
    """The kernel's gradient: that of each dense convolution, without what lies between two groups."""
    blocks, one, together = s.groups // m, s._replace(groups=1), s._replace(groups=m)
    parts = []
    for some_x, some_y in zip(_split(x, blocks), _split(y, blocks), strict=True):
        kernel = dense(some_x, some_y, one)
        parts.append(unmerged(kernel, together, m) if m > 1 else kernel)
    return lax.concatenate(parts, s.rank + 1)


def _split(a: jax.Array, parts: int) -> list[jax.Array]:
    """Equal parts of the last axis."""
    return split(a, parts, a.ndim - 1)
