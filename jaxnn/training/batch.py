"""A batch of examples: how many rows it has, how many of them count, and how one is filled up."""

from typing import Any, NamedTuple

import jax
import numpy as np


class Batch(NamedTuple):
    """Examples, and which of them count; without a mask all of them."""

    x: Any
    y: Any
    mask: Any = None


def rows_of(batch: Batch) -> int:
    """How many rows a batch has."""
    return int(jax.tree.leaves(batch.x)[0].shape[0])


def rows_that_count(batch: Batch) -> int:
    """How many rows of a batch count; reads the mask."""
    return rows_of(batch) if batch.mask is None else int(np.sum(batch.mask))


def filled(batch: Batch, size: int) -> Batch:
    """The batch, filled up to ``size`` rows with its own, which the mask leaves out."""
    n = rows_of(batch)
    if n == size:
        return batch
    rows = np.arange(size) % n
    mask = rows >= 0 if batch.mask is None else np.asarray(batch.mask)[rows]
    x, y = jax.tree.map(lambda array: array[rows], (batch.x, batch.y))
    return Batch(x, y, mask & (np.arange(size) < n))
