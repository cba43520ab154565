"""The axes of a mesh over which arrays vary under ``shard_map``, and explicit shardings."""

from collections.abc import Sequence
from typing import Any, TypeVar

import jax
from jax import lax

Tree = TypeVar("Tree")


def equally_varying(*operands: jax.Array) -> tuple[jax.Array, ...]:
    """The operands, made to vary over the same axes of a mesh, as those of one primitive must.

    ``lax``'s own primitives do that themselves.
    """
    return varying_as(operands, operands)


def varying_as(tree: Tree, operands: Any) -> Tree:
    """``tree``, whose arrays vary over all axes that an array of ``operands`` varies over.

    The first carry of a loop must vary as the later ones do, hence over all axes of what the loop reads.
    """
    axes = frozenset[Any]().union(*map(_axes, jax.tree.leaves(operands)))
    return jax.tree.map(lambda a: _varying(a, axes - _axes(a)), tree) if axes else tree


def sharding_as(like: jax.Array, shape: Sequence[int]) -> jax.NamedSharding | None:
    """The sharding of ``like``, for an array of ``shape``: axes of equal size are sharded alike.

    None unless the axes of the mesh are explicit. What is copied along a batch must be copied on each device:
    the derivative then sums there, and otherwise would gather the whole batch first.
    """
    sharding = jax.typeof(like).sharding
    if sharding.mesh.empty:
        return None
    axes = zip(sharding.spec, like.shape, shape, strict=True)
    return jax.NamedSharding(
        sharding.mesh, jax.P(*(name if size == own else None for name, own, size in axes))
    )


def sharded_along(like: jax.Array, tree: Tree) -> Tree:
    """``tree``, the first axis of its arrays sharded as that of ``like`` on an explicit mesh.

    The first carry of a loop over a batch must be sharded as the later ones are.
    """
    sharding = jax.typeof(like).sharding
    if sharding.mesh.empty or sharding.spec[0] is None:
        return tree
    along = jax.NamedSharding(sharding.mesh, jax.P(sharding.spec[0]))
    return jax.tree.map(lambda a: jax.sharding.reshard(a, along), tree)


def _axes(a: Any) -> frozenset[Any]:
    return jax.typeof(a).mat.varying


def _varying(a: jax.Array, axes: frozenset[Any]) -> jax.Array:
    return lax.pcast(a, tuple(axes), to="varying") if axes else a
