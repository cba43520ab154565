"""One step per batch, over batches that come from the host."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, islice
from typing import Any

import jax
import numpy as np

from jaxnn.data import is_array, length
from jaxnn.distribution.place import own_rows
from jaxnn.distribution.sharding import Sharding
from jaxnn.ops.checks import refusal, shown
from jaxnn.params import Key
from jaxnn.shuffle import Orders
from jaxnn.training.batch import Batch, filled, rows_of, rows_that_count
from jaxnn.training.dispatch import Dispatch
from jaxnn.training.in_turn import CHEAP, in_turn
from jaxnn.training.over_devices import counted
from jaxnn.training.pages import Place, batch_at, in_numpy, pages, places, rows_of_array, shape_of
from jaxnn.training.prefetch import as_array, on_device, prefetch
from jaxnn.training.source import Block, CheckedStep
from jaxnn.training.step import TrainState

#: ``batches(epoch)``: those of an epoch, counted from 1
Batches = Callable[[int], Iterable[Any]]
#: A batch or a page of several, how many rows of each count, if this process knows it, and the place after
#: the last.
Ready = tuple[Batch, np.ndarray | None, Place | None]


class Stream:
    """One step per batch; the next batches are read and sent to the device meanwhile.

    Small batches of the host go in pages, with as many steps per dispatch as take about a tenth of a second;
    large ones, those of a device and those of several devices go one by one.

    A thread reads ahead. Where there is so little to read that to hand it over takes as long, the loop reads
    in turn, while the device is at work on the steps before: rows of arrays in memory, and batches that were
    read as fast in the epoch before.

    All batches have the shape of the first. One with fewer rows is filled up with its own, which the mask
    leaves out, so that no program is compiled for its size.

    Args:
      batches: of an epoch.
      steps: how many an epoch has, or None: as many as there are.
      begin: the epoch to begin with, and how many of its steps were made before. So many batches are read
        and dropped, unless ``place`` is given.
      send: puts a batch on the devices; how many of its rows count, if this process knows it.
      singly: whether each step is to be dispatched alone.
      place: what ``self.place`` was when those steps had been made.
      once: whether all epochs come from one iterator.
      own: whether the batches are known to be alike, each a ``Batch`` as ``of_arrays`` makes them.
      at_hand: whether they are read from memory.
    """

    def __init__(
        self,
        batches: Batches,
        steps: int | None = None,
        begin: tuple[int, int] = (1, 0),
        send: Callable[[Batch], tuple[Batch, int | None]] | None = None,
        singly: bool = False,
        place: Place | None = None,
        once: bool = False,
        own: bool = False,
        at_hand: bool = False,
    ):
        self.batches, self.steps, self.own = batches, steps, own
        self.send = partial(alone, own=own) if send is None else send
        self.singly = singly or send is not None
        self.place, self.restored, self.once = place, place, once
        self.pause: Callable[[], None] = lambda: None
        self.reading: Callable[[bool], None] = lambda begun: None
        self.at_hand = self.in_turn = at_hand
        self.epoch = self.made = 0
        self.room = 1  #: places of a page
        self.dispatch = Dispatch(batch_at, 1)
        self.waited = 0.0
        self.reader: prefetch | in_turn | None = None
        self.like: Batch | None = None
        self.kind: Any = None
        self.peeked: Ready | None = None
        self.fresh = False  # whether no batch was asked for but the one that was looked at
        self.start(*begin)
        self.peeked, self.fresh = self._next(), True
        if self.like is None:
            raise self._too_few()
        if self.room == 1 and self.peeked is not None:
            self.example: Batch = self.peeked[0]
        else:
            self.example = jax.tree.map(shape_of, self.like)

    def prepare(self, step: CheckedStep, state: TrainState) -> None:
        self.step = step
        if self.room > 1:
            self.dispatch.prepare(step, state, self.example)
        else:
            jax.eval_shape(step, state, *self.example)

    def start(self, epoch: int, done: int = 0) -> None:
        # What is left of the first epoch was looked at before; that may be no batch, if it was made whole.
        looked_at, self.fresh = self.fresh and (epoch, done) == (self.epoch, self.made), False
        if looked_at:
            return
        self.close()
        self.epoch, self.made = epoch, done
        batches = self._ready(self._after(done))
        if self.in_turn:
            self.reader = in_turn(batches, self._sent, lambda begun: self.reading(begun))
        else:
            self.reader = prefetch(batches, put=self._sent)
            self.reader.pause = lambda: self.pause()

    def advance(self, state: TrainState) -> tuple[TrainState, Block] | None:
        found = self._next()
        if found is None:
            if self.made == 0 or (self.steps is not None and self.made < self.steps):
                raise self._too_few()
            return None
        batches, known, self.place = found
        counts = counted(batches) if known is None else known
        if self.room > 1:
            state, scores, broken = self.dispatch(state, batches, 0, len(counts))
            self.dispatch.wait()
        else:
            self.example = batches
            state, scores, broken = self.step(state, *batches)
        self.made += len(counts)
        return state, Block(scores, broken, counts)

    def latest(self) -> Batch:
        return self.example

    def close(self) -> None:
        if self.reader is not None:
            self.waited += self.reader.waited
            self.reader.close()
            # An iterator stays with the thread that began it.
            if self.made and not (self.once or self.at_hand):
                self.in_turn = self.reader.busy < CHEAP * self.made
        self.reader = self.peeked = None

    def _after(self, done: int) -> Iterator[tuple[Any, Place | None]]:
        """The batches of the epoch but for the first so many; the very first says what all are like."""
        found, restored = self.batches(self.epoch), self.restored
        if not isinstance(found, Iterable):
            rule = "an iterable of batches, or a function of the epoch that gives one"
            raise TypeError(refusal("fit", "data", rule, found))
        iterator = iter(found)
        if restored is not None:
            self.restored = None
            for item in islice(iterator, 1):
                self._remember(item)
            return_to(iterator, restored)
        before = 0 if restored is None else done  # these are not read again
        left = None if self.steps is None else self.steps - before
        for i, item in enumerate(islice(iterator, left), start=before):
            if self.like is None:
                self._remember(item)
            if i >= done:
                yield item, place_of(iterator)

    def _remember(self, first: Any) -> None:
        """All batches are to be like this one."""
        self.like = first if self.own else as_batch("fit", first)
        self.kind = kind(first)
        self.room = 1 if self.singly else places(self.like)
        self.dispatch = Dispatch(batch_at, self.room)

    def _next(self) -> Ready | None:
        if self.peeked is not None:
            peeked, self.peeked = self.peeked, None
            return peeked
        return None if self.reader is None else next(self.reader, None)

    def _too_few(self) -> ValueError:
        wanted = "at least one batch" if self.steps is None else f"{self.steps} batches"
        return ValueError(
            f"fit: data must give {wanted} in every epoch, got {self.made or 'none'} in epoch {self.epoch}"
            + ("; an iterator ends once and for all: pass a function of the epoch that makes one" * self.once)
        )

    def _ready(self, read: Iterator[tuple[Any, Place | None]]) -> Iterator[Ready]:
        """What a dispatch takes, still on the host; raises at what is no batch, or not like the first."""
        first = list(islice(read, 1))  # by which it is known how many batches there are in a page
        batches = ((self._fitted(item), place) for item, place in chain(first, read))
        if self.room > 1:
            yield from pages(batches, self.room, lambda: self.dispatch.size)
        else:
            yield from ((batch, None, place) for batch, place in batches)

    def _sent(self, ready: Ready) -> Ready:
        """The same, as programs take it; on a CPU they read pages where they are."""
        batches, counts, place = ready
        if self.room == 1:
            batches, count = self.send(batches)
            counts = None if count is None else np.array([count])
        elif jax.default_backend() != "cpu":
            batches = on_device(batches)
        return batches, counts, place

    def _fitted(self, item: Any) -> Batch:
        if self.own:
            return item if self.room > 1 else jax.tree.map(in_numpy, item)
        if self.kind is not None and kind(item) == self.kind:
            return Batch(*item)
        batch = as_batch("fit", item)
        return fitted("fit", batch, batch if self.like is None else self.like)


def kind(item: Any) -> tuple[Any, ...] | None:
    """What two batches share of which one needs no test if the other passed; None if they need one anyway."""
    leaves, tree = jax.tree.flatten(item)
    if any(type(leaf) is not np.ndarray for leaf in leaves):
        return None
    return tree, *((leaf.shape, leaf.dtype) for leaf in leaves)


def alone(batch: Batch, *, own: bool = False) -> tuple[Batch, int]:
    """The batch in the memory of the default device, and how many of its rows count.

    On a CPU that is a NumPy array of the batch's ``own``: a program reads it as fast as one that was put on
    the device, which takes as long as a small step.
    """
    if jax.default_backend() != "cpu":
        placed = on_device(batch)
    else:
        placed = batch if own else jax.tree.map(in_numpy, batch)
    return placed, rows_that_count(batch)


def as_batch(owner: str, item: Any) -> Batch:
    """What an iterable gave, as a batch; raises unless it is ``(x, y)`` or ``(x, y, mask)``, of arrays."""
    if not isinstance(item, tuple | list) or len(item) not in (2, 3):
        sized = isinstance(item, tuple | list | dict)
        came = f"a {type(item).__name__} of {len(item)}" if sized else shown(item)
        raise TypeError(
            f"{owner}: data must give pairs (inputs, targets), or with a mask after them, got {came}"
        )
    batch = Batch(*(jax.tree.map(as_array, part) for part in item))
    leaves = jax.tree.leaves(batch)
    for leaf in leaves:
        if not is_array(leaf):
            raise TypeError(refusal(owner, "all that data give", "arrays of numbers", leaf))
    lengths = {leaf.shape[0] if leaf.shape else None for leaf in leaves}
    if not jax.tree.leaves(batch.x) or len(lengths) != 1 or lengths & {None, 0}:
        shapes = ", ".join(str(leaf.shape) for leaf in leaves[:6])
        raise ValueError(
            f"{owner}: data must give inputs and targets of one length, at least one row, got shapes {shapes}"
        )
    return batch


def fitted(owner: str, batch: Batch, like: Batch) -> Batch:
    """The batch, filled up with its own rows to the length of ``like``; raises where it differs otherwise."""
    own: Any = jax.tree.structure((batch.x, batch.y))
    other: Any = jax.tree.structure((like.x, like.y))
    pairs = list(
        zip(jax.tree.leaves((batch.x, batch.y)), jax.tree.leaves((like.x, like.y)), strict=own == other)
    )
    if own != other or any(a.shape[1:] != b.shape[1:] or a.dtype != b.dtype for a, b in pairs):
        raise ValueError(
            f"{owner}: data must give batches like the first, {_described(like)}, got {_described(batch)}"
        )
    n, size = rows_of(batch), rows_of(like)
    if n > size:
        raise ValueError(
            f"{owner}: data must give no batch larger than the first, of {size} rows, got one of {n}"
        )
    return filled(batch, size)


def of_arrays(data: Any, batch_size: int, key: Key, sharding: Sharding | None = None) -> Batches:
    """The shuffled minibatches of arrays that don't fit on the device.

    In several processes those of the rows that this one holds: all have the same arrays, and draw the same
    order.
    """
    n = length(data)
    orders = Orders(key, n)
    own = np.arange(batch_size) if sharding is None else own_rows(sharding, batch_size)
    padded = n % batch_size != 0

    def batches(epoch: int) -> Iterator[Batch]:
        order = orders.of(epoch)
        for start in range(0, n, batch_size):
            if start + batch_size >= n:
                orders.ask(epoch + 1)
            places = start + own
            x, y = jax.tree.map(partial(rows_of_array, rows=order[places % n]), data)
            yield Batch(x, y, places < n if padded else None)
        orders.of(epoch + 1)  # sorted while the device makes the last steps

    return batches


def is_in_memory(data: Any) -> bool:
    """Whether no array of ``data`` is a file's, mapped to memory, whose rows the disk may have to fetch."""
    return not any(map(_is_mapped, jax.tree.leaves(data)))


def _is_mapped(array: Any) -> bool:
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return False


def of_iterable(data: Any, steps: int | None, skip: bool = True) -> Batches:
    """Those of an iterable, gone through again in each epoch, or of a function of the epoch.

    An iterator, which can't start again, goes on in each epoch where the last has ended; the epochs before
    the first that is asked for are read and dropped, if they are to be.
    """
    if not isinstance(data, Iterable):
        return data
    if not isinstance(data, Iterator):
        return lambda epoch: data
    skipped = steps if skip and steps is not None else 0

    def go_on(epoch: int) -> Iterator[Any]:
        nonlocal skipped
        before, skipped = skipped * (epoch - 1), 0
        for _ in islice(data, before):
            pass
        return data

    return go_on


def place_of(iterator: Any) -> Place | None:
    """Where an iterator with ``get_state`` and ``set_state``, as Grain's have, stands; None of another.

    Their state is what JSON has, or bytes of text.
    """
    if not (hasattr(iterator, "get_state") and hasattr(iterator, "set_state")):
        return None
    state = iterator.get_state()
    text = isinstance(state, bytes)
    return {"state": state.decode() if text else state, "bytes": text}


def return_to(iterator: Any, place: Place) -> None:
    """Puts an iterator where one of its kind stood; raises where it is of another kind."""
    if not hasattr(iterator, "set_state"):
        raise ValueError(
            "fit: data must give iterators with get_state and set_state, as in the run that was saved, got "
            f"{shown(iterator)}"
        )
    iterator.set_state(place["state"].encode() if place["bytes"] else place["state"])


def _described(batch: Batch) -> str:
    return ", ".join(
        f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]" for leaf in jax.tree.leaves((batch.x, batch.y))[:6]
    )
