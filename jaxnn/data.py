"""Arrays in, minibatches out: standardisation and batching, nothing else."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from jaxnn.layer import Key
from jaxnn.ops.standardize import feature_statistics, standardize

__all__ = ["feature_statistics", "length", "minibatches", "standardize"]


def minibatches(data: Any, batch_size: int, *, key: Key | None = None) -> Iterator[tuple[Any, np.ndarray]]:
    """Batches of equal size, each with a mask of the rows that count.

    Shapes: a pytree of (n, …) → ⌈n / batch_size⌉ times (a pytree of (batch_size, …), mask (batch_size,)).

    Every row comes exactly once with mask True. Where the last batch is short it is filled with rows from the
    start of the same order, mask False: real examples, so that batch statistics stay honest, which the loss
    does not count. One shape for all batches means one compilation.

    Args:
      data: a pytree of arrays, NumPy or JAX, with one leading length n.
      batch_size: from 1 to n.
      key: shuffles the rows; without it they come in order.

    Raises:
      ValueError: lengths that differ, or batch_size out of range.

    >>> import numpy as np, jaxnn as nn
    >>> for (x, y), mask in nn.data.minibatches((np.arange(3), np.array([0, 1, 1])), 2):
    ...     print(x, y, mask)
    [0 1] [0 1] [ True  True]
    [2 0] [1 0] [ True False]
    """
    n = length(data)
    if not 1 <= batch_size <= n:
        raise ValueError(
            f"minibatches: batch_size must be from 1 to the {n} examples there are, got {batch_size}"
        )
    order = np.arange(n) if key is None else np.asarray(jax.random.permutation(key, n))

    def batches() -> Iterator[tuple[Any, np.ndarray]]:
        for start in range(0, n, batch_size):
            rows = np.arange(start, start + batch_size)
            yield _take(data, order[rows % n]), rows < n

    return batches()


def _take(data: Any, rows: np.ndarray) -> Any:
    return jax.tree.map(lambda array: array[rows], data)


def length(data: Any) -> int:
    """The leading length that all arrays of ``data`` share; raises if they don't, or if there is no row."""
    lengths = [np.shape(leaf)[0] if np.ndim(leaf) else None for leaf in jax.tree.leaves(data)]
    if not lengths or len(set(lengths)) > 1 or lengths[0] is None:
        raise ValueError(
            "data: inputs and targets must be arrays of one length, a row an example, got lengths "
            + ", ".join(map(str, lengths))
        )
    return lengths[0]
