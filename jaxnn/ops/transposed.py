"""Linear maps that bring their own transposes, where those that JAX finds are slow."""

from collections.abc import Callable, Mapping
from functools import reduce
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.ops.pool_windows import MOST_SLICES, Windows, padded, slices

LinearMap = Callable[[jax.Array], jax.Array]


def with_transpose(
    x: jax.Array, sizes: Mapping[int, int], forward: LinearMap, backward: LinearMap
) -> jax.Array:
    """``forward(x)``, where these axes get new ``sizes``, and whose transpose is ``backward``.

    ``custom_linear_solve`` is the one transform that takes a linear map together with its transpose and keeps
    ``vmap`` and both modes of differentiation. Its ``matvec``, which a derivative by the matrix would need,
    is never called here. It wants a square map, so the shorter side is padded.
    """
    before = {axis: x.shape[axis] for axis in sizes}
    room = {axis: max(x.shape[axis], size) for axis, size in sizes.items()}

    def there(_: Any, v: jax.Array) -> jax.Array:
        return _fit(forward(_fit(v, before)), room)

    def back(_: Any, v: jax.Array) -> jax.Array:
        return _fit(backward(_fit(v, sizes)), room)

    return _fit(lax.custom_linear_solve(lambda v: v, _fit(x, room), there, back), sizes)


def _fit(x: jax.Array, sizes: Mapping[int, int]) -> jax.Array:
    """``x`` with zeros appended or the end cut off, so that its axes have these sizes."""
    zero = jnp.zeros((), x.dtype)
    return padded(x, {axis: (0, size - x.shape[axis]) for axis, size in sizes.items()}, zero)


def repeated(x: jax.Array, times: dict[int, int]) -> jax.Array:
    """Each value so often along each axis. The transpose of ``block_sums``."""
    if not jnp.issubdtype(x.dtype, jnp.floating) or prod(times.values()) > MOST_SLICES:
        return _copies(x, times)
    sizes = {axis: x.shape[axis] * n for axis, n in times.items()}
    return with_transpose(x, sizes, lambda v: _copies(v, times), lambda v: _sums(v, times))


def block_sums(x: jax.Array, blocks: dict[int, int]) -> jax.Array:
    """The sums of blocks of so many values along each axis, of which a whole number fill it."""
    sizes = {axis: x.shape[axis] // n for axis, n in blocks.items()}
    return with_transpose(x, sizes, lambda v: _sums(v, blocks), lambda v: _copies(v, blocks))


def _copies(x: jax.Array, times: dict[int, int]) -> jax.Array:
    y = lax.expand_dims(x, [axis + i + 1 for i, axis in enumerate(times)])
    shape = list(y.shape)
    for i, axis in enumerate(times):
        shape[axis + i + 1] = times[axis]
    y = jnp.broadcast_to(y, shape)
    # One axis after the other: explicit sharding knows no reshape of several.
    for axis in times:
        y = lax.reshape(y, (*y.shape[:axis], y.shape[axis] * y.shape[axis + 1], *y.shape[axis + 2 :]))
    return y


def _sums(x: jax.Array, blocks: dict[int, int]) -> jax.Array:
    """One slice for each place in a block: XLA does not vectorise a sum over short axes."""
    axes = {axis: Windows(x.shape[axis], n, n, 1, 0, 0, x.shape[axis] // n) for axis, n in blocks.items()}
    return reduce(jnp.add, slices(x, axes, jnp.zeros((), x.dtype)))
