"""Batches of the host, several one behind the other, as one dispatch takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import prod
from time import perf_counter
from typing import Any

import jax
import numpy as np

from jaxnn.training.batch import Batch, rows_that_count
from jaxnn.training.dispatch import TARGET

#: Bytes of a page at most, and batches: a few pages are in memory at any time.
BYTES = 2**23
MOST = 64
#: XLA reads an array of the host where it is if it begins at a multiple of so many bytes. It copies others.
ALIGNED = 64
#: Bytes from which on an array that is read where it is pays for beginning there.
LARGE = 2**14

#: Where an iterator stands that can tell, in what JSON has; None of one that can't.
Place = dict[str, Any]
#: Batches, how many rows of each count, and the place after the last.
Filled = tuple[Batch, np.ndarray, Place | None]


@dataclass(frozen=True)
class Rows:
    """Rows of an array of the host, not yet copied."""

    array: Any
    rows: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.rows), *self.array.shape[1:]

    @property
    def dtype(self) -> Any:
        return self.array.dtype


def rows_of_array(array: Any, rows: np.ndarray) -> Any:
    """Rows of an array of the host, or an array of those that are on a device."""
    return array[rows] if isinstance(array, jax.Array) else Rows(array, rows)


def places(like: Batch) -> int:
    """How many batches like this one a page has; 1 for those that are not the host's, or large."""
    leaves = jax.tree.leaves(like)
    if any(isinstance(leaf, jax.Array) for leaf in leaves):
        return 1
    taken = sum(prod(leaf.shape) * _dtype(leaf).itemsize for leaf in leaves)
    return max(1, min(MOST, BYTES // max(taken, 1)))


def batch_at(page: Batch, place: Any) -> Batch:
    """The batch at a place of a page, traced."""
    return jax.tree.map(lambda array: jax.lax.dynamic_index_in_dim(array, place, keepdims=False), page)


def pages(
    batches: Iterable[tuple[Batch, Place | None]], room: int, size: Callable[[], int]
) -> Iterator[Filled]:
    """The same batches, in pages with places for ``room``, of which the first are taken.

    A page has ``size()`` batches, the first ones of an epoch fewer, for which the device would wait. It ends
    sooner where reading takes long, where a batch has a mask and those before it none or one of another
    kind, and where an error comes instead of a batch: that is raised once the page before it was taken.
    """
    page, read, begun = None, 0, perf_counter()
    try:
        for batch, place in batches:
            if page is not None and not page.takes(batch):
                yield page.filled()
                page, begun = None, perf_counter()
            if page is None:
                page, most = _Page(batch, room), min(size(), read + 1)
            page.add(batch, place)
            read += 1
            if len(page.counts) >= most or perf_counter() - begun > TARGET:
                yield page.filled()
                page, begun = None, perf_counter()
    except Exception:
        if page is not None:
            yield page.filled()
        raise
    if page is not None:
        yield page.filled()


class _Page:
    """A page that is being filled."""

    def __init__(self, like: Batch, room: int):
        leaves = jax.tree.leaves(like)
        self.tree: Any = jax.tree.structure(like)
        self.kind = _kind(like.mask)
        self.arrays = [empty((room, *leaf.shape), _dtype(leaf)) for leaf in leaves]
        self.counts: list[int] = []
        self.place: Place | None = None

    def takes(self, batch: Batch) -> bool:
        return bool(jax.tree.structure(batch) == self.tree) and _kind(batch.mask) == self.kind

    def add(self, batch: Batch, place: Place | None) -> None:
        for array, leaf in zip(self.arrays, jax.tree.leaves(batch), strict=True):
            _copied(leaf, array[len(self.counts)])
        self.counts.append(rows_that_count(batch))
        self.place = place

    def filled(self) -> Filled:
        return jax.tree.unflatten(self.tree, self.arrays), np.array(self.counts), self.place


def _kind(mask: Any) -> Any:
    """What a mask is refused by when a step is traced: a page must not make it one that is not refused."""
    return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(mask)]


def in_numpy(leaf: Any) -> Any:
    """A copy of an array of the host, in the dtype that it has in JAX; a JAX array as it is.

    A copy, since whoever gave it may write the next batch into it.
    """
    if isinstance(leaf, jax.Array):
        return leaf
    copy = empty(leaf.shape, _dtype(leaf))
    _copied(leaf, copy)
    return copy


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array for XLA to read where it is, if it is large."""
    size = prod(shape) * dtype.itemsize
    if size < LARGE:
        return np.empty(shape, dtype)
    room = np.empty(size + ALIGNED, np.uint8)
    begin = -room.__array_interface__["data"][0] % ALIGNED
    return room[begin : begin + size].view(dtype).reshape(shape)


def shape_of(leaf: Any) -> jax.ShapeDtypeStruct:
    """What ``in_numpy`` makes of it, without its values."""
    return jax.ShapeDtypeStruct(leaf.shape, _dtype(leaf))


def _dtype(leaf: Any) -> np.dtype[Any]:
    return np.dtype(jax.dtypes.canonicalize_dtype(leaf.dtype))


def _copied(leaf: Any, to: np.ndarray) -> None:
    if not isinstance(leaf, Rows):
        to[...] = leaf
    elif _takes_rows(leaf.array) and leaf.array.dtype == to.dtype:
        leaf.array.take(leaf.rows, 0, to, "clip")  # "raise" would go through a copy
    else:
        to[...] = leaf.array[leaf.rows]


def _takes_rows(array: Any) -> bool:
    """Whether ``take`` reads no more than the rows that it is asked for.

    Of an array that is not contiguous, such as a transposed one, it makes a copy as a whole. A class of its
    own may read its rows in a way of its own.
    """
    flags = array.flags
    return type(array) in (np.ndarray, np.memmap) and bool(flags.c_contiguous and flags.aligned)
