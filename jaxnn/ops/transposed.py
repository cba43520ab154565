"""Linear maps that bring their own transposes, where those that JAX finds are slow."""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxnn.ops.pool_windows import MOST_SLICES, Windows, slices

LinearMap = Callable[[jax.Array], jax.Array]
Sizes = tuple[tuple[int, int], ...]


def with_transpose(
    x: jax.Array, sizes: Mapping[int, int], forward: LinearMap, backward: LinearMap
) -> jax.Array:
    """``forward(x)``, where these axes get new ``sizes``, and whose transpose is ``backward``.

    Both modes of differentiation and ``vmap`` are kept. ``lax.custom_linear_solve`` would do the same for
    square maps, but hands on the constants of its maps, which then vary under ``shard_map`` where they did
    not when the maps were traced.
    """
    result: jax.Array = _linear_map.bind(x, sizes=tuple(sizes.items()), forward=forward, backward=backward)
    return result


def _type(x: Any, *, sizes: Sizes, forward: LinearMap, backward: LinearMap) -> Any:
    shape = list(x.shape)
    for axis, size in sizes:
        shape[axis] = size
    return x.update(shape=tuple(shape), weak_type=False)


def _form(x: jax.Array, *, sizes: Sizes, forward: LinearMap, backward: LinearMap) -> jax.Array:
    return forward(x)


def _transpose(
    cotangent: jax.Array, x: Any, *, sizes: Sizes, forward: LinearMap, backward: LinearMap
) -> list[jax.Array]:
    before = {axis: x.aval.shape[axis] for axis, _ in sizes}
    return [with_transpose(cotangent, before, backward, forward)]


def _batch(
    args: Sequence[jax.Array],
    dims: Sequence[int],
    *,
    sizes: Sizes,
    forward: LinearMap,
    backward: LinearMap,
) -> tuple[jax.Array, int]:
    x, sizes_of_all = jnp.moveaxis(args[0], dims[0], 0), {axis + 1: size for axis, size in sizes}
    return with_transpose(x, sizes_of_all, jax.vmap(forward), jax.vmap(backward)), 0


_linear_map = Primitive("jaxnn_linear_map")
_linear_map.def_impl(_form)
_linear_map.def_abstract_eval(_type)
mlir.register_lowering(_linear_map, mlir.lower_fun(_form, multiple_results=False))
batching.primitive_batchers[_linear_map] = _batch
ad.deflinear2(_linear_map, _transpose)


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
