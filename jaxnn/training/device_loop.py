"""Many steps in one dispatch, over data that stay on the device."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.data import length
from jaxnn.distribution.place import placed
from jaxnn.distribution.sharding import Sharding
from jaxnn.params import Key
from jaxnn.shuffle import Orders
from jaxnn.training.batch import Batch
from jaxnn.training.dispatch import Dispatch
from jaxnn.training.source import Block, CheckedStep
from jaxnn.training.step import TrainState

#: Steps per dispatch at most.
MOST = 4096
#: The share of a device's memory that data may take if they are to stay there.
SHARE = 0.25


def fits(data: Any, sharding: Sharding | None = None) -> bool:
    """Whether the data take so little of the memory of every device that they can stay there as a whole."""
    taken = sum(leaf.nbytes for leaf in jax.tree.leaves(data) if hasattr(leaf, "nbytes"))
    if sharding is not None and jax.default_backend() == "cpu":
        taken *= sharding.mesh.size  # the devices share one memory
    statistics = jax.local_devices()[0].memory_stats() or {}
    memory = statistics.get("bytes_limit") or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return taken <= SHARE * memory


class DeviceLoop:
    """Steps over shuffled minibatches, of which the host sends nothing but the order."""

    def __init__(
        self,
        data: Any,
        batch_size: int,
        key: Key,
        limit: int | None = None,
        sharding: Sharding | None = None,
    ):
        self.n, self.batch_size = length(data), batch_size
        self.orders = Orders(key, self.n)
        self.steps = -(-self.n // batch_size)
        self.dispatch = Dispatch(self._taken, min(self.steps, MOST if limit is None else limit))
        if sharding is None:
            self.data = jax.device_put(data)
        else:  # whole on every device, so that each takes its rows of a batch without asking another
            self.data = jax.tree.map(lambda array: placed(array, sharding.whole), data)
        self.example = jax.eval_shape(self._rows, self.data, jnp.arange(batch_size), 0)
        self.pause: Callable[[], None] = lambda: None
        self.reading: Callable[[bool], None] = lambda begun: None
        self.place: dict[str, Any] | None = None  # the order is drawn by the epoch: there is nothing to keep
        self.next = self.steps  #: step of the epoch
        self.epoch = 0
        self.order: Any = None

    def prepare(self, step: CheckedStep, state: TrainState) -> None:
        self.dispatch.prepare(step, state, self.example)

    def start(self, epoch: int, done: int = 0) -> None:
        # Of all batches, one behind the other; the first rows fill up the last batch.
        rows = np.resize(self.orders.of(epoch), self.steps * self.batch_size)
        self.order = jnp.asarray(rows, jnp.int32)
        self.epoch, self.next = epoch, done

    def advance(self, state: TrainState) -> tuple[TrainState, Block] | None:
        if self.next == self.steps:
            return None
        start, stop = self.next, min(self.next + self.dispatch.size, self.steps)
        if stop == self.steps:
            self.orders.ask(self.epoch + 1)
        state, scores, broken = self.dispatch(state, (self.data, self.order), start, stop)
        if stop == self.steps:
            self.orders.of(self.epoch + 1)  # sorted while the device makes the last steps
        self.dispatch.wait()
        self.next = stop
        counts = np.minimum(self.n - np.arange(start, stop) * self.batch_size, self.batch_size)
        return state, Block(scores, broken, counts)

    def latest(self) -> Batch:
        return self._taken((self.data, self.order), self.next - 1)

    def close(self) -> None:
        self.data = self.order = None

    def _taken(self, loaded: tuple[Any, jax.Array], step: Any) -> Batch:
        """The batch of a step, from the data and their order."""
        data, order = loaded
        rows = lax.dynamic_slice(order, (step * self.batch_size,), (self.batch_size,))
        return self._rows(data, rows, step)

    def _rows(self, data: Any, rows: jax.Array, step: Any) -> Batch:
        """The rows, and which of them count: those that fill up the last batch do not."""
        x, y = jax.tree.map(lambda array: array[rows], data)
        if self.n % self.batch_size == 0:
            return Batch(x, y)
        return Batch(x, y, step * self.batch_size + jnp.arange(self.batch_size) < self.n)
