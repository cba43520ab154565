"""Whether a step leaves params that can go on: a flag on the device, looked at when there is time."""

from collections import defaultdict
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.layer import Params

#: Arrays of fewer values than this are searched together, in a copy. A search of its own takes each about
#: 3 ms to compile.
TOGETHER = 2**16


def breaks(before: Params, after: Params) -> jax.Array:
    """Whether a step made params NaN or infinite: True where any weight is, or any state has become so.

    A state may hold infinity from the start, such as a running minimum.
    """
    pairs = zip(_floats(before.state), _floats(after.state), strict=True)
    changed = [(old, new) for old, new in pairs if new is not old]  # a frozen part is not read again
    olds, news = (_joined([pair[i] for pair in changed]) for i in range(2))
    # A maximum hands NaN on, so the largest absolute value shows both.
    weights = (~jnp.isfinite(jnp.abs(array).max(initial=0)) for array in _joined(_floats(after.weights)))
    states = ((jnp.isfinite(old) & ~jnp.isfinite(new)).any() for old, new in zip(olds, news, strict=True))
    return reduce(jnp.logical_or, (*weights, *states), jnp.zeros((), bool))


def _joined(arrays: list[jax.Array]) -> list[jax.Array]:
    """The same values, those of small arrays of one dtype in one array."""
    small = defaultdict(list)
    for array in arrays:
        if array.size < TOGETHER:
            small[array.dtype].append(array.ravel())
    return [a for a in arrays if a.size >= TOGETHER] + [jnp.concatenate(group) for group in small.values()]


def _floats(tree: Any) -> list[jax.Array]:
    leaves = map(jnp.asarray, jax.tree.leaves(tree))
    return [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
