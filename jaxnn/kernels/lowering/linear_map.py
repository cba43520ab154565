"""Linear maps with transposes of their own, where those that JAX derives are slow."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxnn.kernels.lowering.meaning import MEANINGS, Meaning

LinearMap = Callable[[jax.Array], jax.Array]
Sizes = tuple[tuple[int, int], ...]


def with_transpose(
    x: jax.Array, sizes: Mapping[int, int], forward: LinearMap, backward: LinearMap
) -> jax.Array:
    """``forward(x)``, which gives these axes new ``sizes`` and whose transpose is ``backward``.

    Both modes of differentiation and ``vmap`` work. ``lax.custom_linear_solve`` would do the same for square
    maps, but passes on the constants of its maps, which then vary under ``shard_map`` though they did not
    when the maps were traced.
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
MEANINGS[_linear_map] = Meaning(_form)
