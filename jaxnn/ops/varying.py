"""Under ``shard_map`` an array says over which axes of the mesh it varies."""

from typing import Any

import jax
from jax import lax


def equally_varying(*operands: jax.Array) -> tuple[jax.Array, ...]:
    """The operands, which vary over the same axes of a mesh from here on, as those of one primitive must.

    ``lax``'s own primitives see to that themselves.
    """
    axes = frozenset[Any]().union(*(jax.typeof(a).mat.varying for a in operands))
    return tuple(_varying(a, axes - jax.typeof(a).mat.varying) for a in operands)


def _varying(a: jax.Array, axes: frozenset[Any]) -> jax.Array:
    return lax.pcast(a, tuple(axes), to="varying") if axes else a
