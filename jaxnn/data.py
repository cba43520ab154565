"""Arrays in, minibatches out."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.ops import checks
from jaxnn.ops.standardize import feature_statistics, standardize
from jaxnn.params import Key
from jaxnn.shuffle import permutation

__all__ = ["feature_statistics", "length", "minibatches", "standardize"]


def minibatches(data: Any, batch_size: int, *, key: Key | None = None) -> Iterator[tuple[Any, np.ndarray]]:
    """Batches of equal size, each with a mask of the rows that count.

    Shapes: a pytree of (n, …) → ⌈n / batch_size⌉ times (a pytree of (batch_size, …), mask (batch_size,)).

    Every row comes exactly once with mask True. A short last batch is filled with rows from the start of
    the same order, mask False: real examples, so that batch statistics stay meaningful, but left out of the
    loss. One shape for all batches means one compilation.

    Args:
      data: a pytree of arrays, NumPy or JAX, with one leading length n.
      batch_size: from 1 to n.
      key: shuffles the rows; without it they come in order.

    Raises:
      TypeError: data that is not arrays, a batch_size that is not an integer, or not one key.
      ValueError: lengths that differ, no rows, or batch_size out of range.

    >>> import numpy as np, jaxnn as nn
    >>> for (x, y), mask in nn.data.minibatches((np.arange(3), np.array([0, 1, 1])), 2):
    ...     print(x, y, mask)
    [0 1] [0 1] [ True  True]
    [2 0] [1 0] [ True False]
    """
    n = length(data, "minibatches: data")
    batch_size = examples_at_a_time("minibatches", batch_size, n)
    if key is not None:
        checks.key("minibatches", key)
    order = np.arange(n) if key is None else permutation(key, n)

    def batches() -> Iterator[tuple[Any, np.ndarray]]:
        arrays, tree = jax.tree.flatten(data)
        steps = -(-n // batch_size)
        for i, rows in enumerate(np.resize(order, (steps, batch_size))):
            taken = jax.tree.unflatten(tree, [array[rows] for array in arrays])
            yield taken, np.arange(batch_size) < n - i * batch_size

    return batches()


def length(data: Any, owner: str = "data") -> int:
    """The leading length that all arrays of ``data`` share.

    Args:
      data: a pytree of arrays, NumPy or JAX, with no masked array among them.
      owner: whose data they are, for the error sentence.

    Raises:
      TypeError: something in ``data`` is not an array of numbers.
      ValueError: lengths that differ, an array without axes, or no rows.
    """
    leaves = jax.tree.leaves(data)
    for leaf in leaves:
        if not is_array(leaf):
            raise TypeError(
                checks.refusal(owner, "all that it holds", "NumPy or JAX arrays of numbers", leaf)
            )
    lengths = [leaf.shape[0] if leaf.shape else None for leaf in leaves]
    if not lengths or len(set(lengths)) > 1 or lengths[0] is None:
        some = ", ".join(map(str, lengths[:8])) + (", …" if len(lengths) > 8 else "")
        raise ValueError(
            f"{owner}: inputs and targets must be arrays of one length, one row per example, got "
            + (f"lengths {some}" if lengths else "no array")
        )
    if lengths[0] == 0:
        raise ValueError(f"{owner}: inputs and targets must hold at least one example, got none")
    return lengths[0]


def examples_at_a_time(owner: str, batch_size: int, n: int) -> int:
    """``batch_size`` as an int; raises unless it is one from 1 to ``n``."""
    size = checks.integer(owner, "batch_size", batch_size)
    if not 1 <= size <= n:
        raise ValueError(
            f"{owner}: batch_size must be from 1 to the {n} examples there are, got {batch_size}"
        )
    return size


def is_array(leaf: Any) -> bool:
    """Whether ``leaf`` is a NumPy or JAX array of numbers or keys, and not a masked array."""
    if not isinstance(leaf, np.ndarray | np.generic | jax.Array) or isinstance(leaf, np.ma.MaskedArray):
        return False
    kinds = (jnp.number, jnp.bool_, jax.dtypes.extended)
    return any(jnp.issubdtype(leaf.dtype, kind) for kind in kinds)
