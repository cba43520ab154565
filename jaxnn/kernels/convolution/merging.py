"""The kernel of a grouped convolution in which several groups are taken together, and back."""

import jax
import numpy as np
from jax import lax

from jaxnn.kernels.convolution.problem import Settings


def merged(kernel: jax.Array, s: Settings, m: int) -> jax.Array:
    """``(*window, I, g·O) → (*window, m·I, g·O)`` for groups of ``m`` of ``s``, with zeros between them."""
    *window, c_in, c_out = kernel.shape
    shape = (*window, m, c_in, s.groups // m, m, c_out // s.groups)
    kernel = lax.reshape(kernel, (*window, *shape[s.rank + 1 :]))
    kernel = lax.broadcast_in_dim(kernel, shape, (*range(s.rank), *range(s.rank + 1, s.rank + 5)))
    return lax.reshape(_own(kernel, s.rank, s.rank + 3), (*window, m * c_in, c_out))


def unmerged(kernel: jax.Array, s: Settings, m: int) -> jax.Array:
    """``(*window, m·I, g·O) → (*window, I, g·O)``: without what lies between two groups of ``s``."""
    *window, c_in, c_out = kernel.shape
    shape = (*window, m, c_in // m, s.groups // m, m, c_out // s.groups)
    kernel = _own(lax.reshape(kernel, shape), s.rank, s.rank + 3)
    return lax.reshape(lax.reduce_sum(kernel, (s.rank,)), (*window, c_in // m, c_out))


def _own(a: jax.Array, one: int, other: int) -> jax.Array:
    """``a`` with zeros where two axes, of groups, have different indices."""
    same = lax.broadcast_in_dim(np.eye(a.shape[one], dtype=bool), a.shape, (one, other))
    return lax.select(same, a, lax.full_like(a, 0))
