"""Whether a step leaves params that can go on: a flag on the device, looked at when there is time."""

from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.layer import Params


def breaks(before: Params, after: Params) -> jax.Array:
    """Whether a step made params NaN or infinite: True where any weight is, or any state has become so.

    A state may hold infinity from the start, such as a running minimum.
    """
    # A maximum hands NaN on, so it shows both; it compiles to less than isfinite and all.
    weights = (~jnp.isfinite(jnp.abs(weight).max(initial=0)) for weight in _floats(after.weights))
    states = (
        (jnp.isfinite(old) & ~jnp.isfinite(new)).any()
        for old, new in zip(_floats(before.state), _floats(after.state), strict=True)
        if new is not old  # the frozen part of a net need not be read again
    )
    return reduce(jnp.logical_or, (*weights, *states), jnp.zeros((), bool))


def _floats(tree: Any) -> list[jax.Array]:
    leaves = map(jnp.asarray, jax.tree.leaves(tree))
    return [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
