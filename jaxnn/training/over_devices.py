"""Batches on their way to the devices of a mesh."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import jax
import numpy as np

from jaxnn.distribution.place import own_rows, split
from jaxnn.distribution.sharding import Sharding
from jaxnn.training.batch import Batch, filled, rows_of


def crosses_processes(sharding: Sharding | None) -> bool:
    """Whether devices of other processes take part."""
    return sharding is not None and not sharding.whole.is_fully_addressable


def own_part(batch: Batch, sharding: Sharding) -> Batch:
    """The rows of a batch that the devices of this process hold, where every process has all of them."""
    rows = own_rows(sharding, rows_of(batch))
    return jax.tree.map(lambda array: array[rows], batch)


def sent(owner: str, sharding: Sharding, batch: Batch, *, alike: bool) -> tuple[Batch, int | None]:
    """The rows of this process, over the devices; and how many rows count in all processes, if known here.

    Args:
      owner: begins the sentence for rows that the devices do not divide.
      sharding: the rule.
      batch: the rows.
      alike: whether all processes have a mask if one has. Where only this one knows that its rows do not all
        count, the others need a mask too: they must run the same program.
    """
    if crosses_processes(sharding) and not alike and batch.mask is None:
        batch = batch._replace(mask=np.ones(rows_of(batch), bool))
    placed = split(owner, batch, sharding)
    if batch.mask is None:
        return placed, rows_of(placed)
    return placed, None if crosses_processes(sharding) else int(np.sum(batch.mask))


def counted(batch: Batch) -> jax.Array:
    """How many rows count, (1,), on the devices; all processes must ask."""
    return _sum(batch.mask)


def scored(
    found: Iterable[tuple[Batch, int]], sharding: Sharding, whole: bool
) -> Iterator[tuple[Batch, int]]:
    """The batches over the devices, filled up where the devices do not divide them; how many rows count.

    Args:
      found: batches, and how many rows count in each.
      sharding: the rule.
      whole: whether every process has all rows, and not its own alone.
    """
    owner = "evaluate: data"
    for batch, count in found:
        if whole:
            batch = own_part(_divisible(batch, sharding.pieces), sharding)
            yield split(owner, batch, sharding), count
        else:
            batch, known = sent(owner, sharding, _divisible(batch, len(sharding.own)), alike=False)
            yield batch, int(counted(batch)[0]) if known is None else known


def _divisible(batch: Batch, pieces: int) -> Batch:
    """The batch, filled up to a multiple of so many rows."""
    return filled(batch, -(-rows_of(batch) // pieces) * pieces)


_sum = jax.jit(lambda mask: mask.sum(dtype=np.int32)[None])
