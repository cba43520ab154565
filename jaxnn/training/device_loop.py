"""Many steps in one dispatch, over data that stay on the device."""

from __future__ import annotations

import os
from collections.abc import Callable
from time import perf_counter
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
from jaxnn.training.source import Block, CheckedStep
from jaxnn.training.step import TrainState

#: Seconds that one dispatch is meant to take: progress is shown and Ctrl-C heard between two of them.
TARGET = 0.1
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


def is_steady(step: CheckedStep, state: TrainState, batch: Batch) -> bool:
    """Whether a step gives a state of the shapes and dtypes it was given, which a loop needs."""
    after, *_ = jax.eval_shape(step, state, *batch)
    kinds = [[(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)] for tree in (state, after)]
    structures: Any = [jax.tree.structure(tree) for tree in (state, after)]
    return kinds[0] == kinds[1] and structures[0] == structures[1]


#: ``program(state, data, order, start, stop) -> (state, scores, broken)``
Program = Callable[[TrainState, Any, jax.Array, Any, Any], tuple[TrainState, Any, jax.Array]]


class DeviceLoop:
    """Steps over shuffled minibatches, as many per dispatch as take about a tenth of a second.

    One program is compiled for any number of steps: a loop whose bounds are arguments. So how many steps
    there are per dispatch, and where an epoch was interrupted, doesn't change a bit of the results. Two
    dispatches are under way at any time: the device has the next while the results of one are fetched.
    """

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
        self.limit = min(self.steps, MOST if limit is None else limit)
        if sharding is None:
            self.data = jax.device_put(data)
        else:  # whole on every device, so that each takes its rows of a batch without asking another
            self.data = jax.tree.map(lambda array: placed(array, sharding.whole), data)
        self.example = jax.eval_shape(self._rows, self.data, jnp.arange(batch_size), 0)
        self.pause: Callable[[], None] = lambda: None
        self.reading: Callable[[bool], None] = lambda begun: None
        self.place: dict[str, Any] | None = None  # the order is drawn by the epoch: there is nothing to keep
        self.size = 1  #: of the next block
        self.next = self.steps  #: step of the epoch
        self.epoch = 0
        self.order: Any = None
        self.running: Any = None  #: a result of the latest block, to wait for
        self.ready: float | None = None  #: when the one before it was ready

    def prepare(self, step: CheckedStep, state: TrainState) -> None:
        """Takes the step.

        One that gives a state of other dtypes than it was given, as some optimisers do in half precision,
        can't be in a loop: each dispatch then has one.
        """
        self.step = step
        if is_steady(step, state, self.example):
            self.program = jax.jit(self._loop(step), donate_argnums=0)
        else:
            self.limit, self.program = 1, jax.jit(self._single(step), donate_argnums=0)

    def start(self, epoch: int, done: int = 0) -> None:
        # Of all batches, one behind the other; the first rows fill up the last batch.
        rows = np.resize(self.orders.of(epoch), self.steps * self.batch_size)
        self.order = jnp.asarray(rows, jnp.int32)
        self.epoch, self.next = epoch, done

    def advance(self, state: TrainState) -> tuple[TrainState, Block] | None:
        if self.next == self.steps:
            return None
        start, stop = self.next, min(self.next + self.size, self.steps)
        if stop == self.steps:
            self.orders.ask(self.epoch + 1)
        idle = self.running is None or self.running.is_ready()
        state, scores, broken = self.program(state, self.data, self.order, np.int32(start), np.int32(stop))
        if stop == self.steps:
            self.orders.of(self.epoch + 1)  # sorted while the device makes the last steps
        self._resize(idle)
        self.next, self.running = stop, broken
        counts = np.minimum(self.n - np.arange(start, stop) * self.batch_size, self.batch_size)
        return state, Block(scores, broken, counts)

    def latest(self) -> Batch:
        return self._taken(self.data, self.order, self.next - 1)

    def close(self) -> None:
        self.data = self.order = None

    def _resize(self, idle: bool) -> None:
        """Waits for the block before the one just dispatched; by its time the size of the next is chosen.

        ``idle``: whether it was ready before the dispatch. Then its time is not known, but only that it took
        no longer than until now: the host may have done something else, such as a validation.
        """
        if self.running is None:
            return
        jax.block_until_ready(self.running)
        now = perf_counter()
        if self.ready is not None:
            taken = now - self.ready
            if taken < TARGET / 2:
                self.size = min(2 * self.size, self.limit)
            elif taken > TARGET and not idle:
                self.size = max(self.size // 2, 1)
        self.ready = now

    def _taken(self, data: Any, order: jax.Array, step: Any) -> Batch:
        """The batch of a step."""
        rows = lax.dynamic_slice(order, (step * self.batch_size,), (self.batch_size,))
        return self._rows(data, rows, step)

    def _rows(self, data: Any, rows: jax.Array, step: Any) -> Batch:
        """The rows, and which of them count: those that fill up the last batch do not."""
        x, y = jax.tree.map(lambda array: array[rows], data)
        if self.n % self.batch_size == 0:
            return Batch(x, y)
        return Batch(x, y, step * self.batch_size + jnp.arange(self.batch_size) < self.n)

    def _single(self, step: CheckedStep) -> Program:
        def run(state: TrainState, data: Any, order: jax.Array, start: Any, stop: Any) -> Any:
            return step(state, *self._taken(data, order, start))

        return run

    def _loop(self, step: CheckedStep) -> Program:
        def run(state: TrainState, data: Any, order: jax.Array, start: Any, stop: Any) -> Any:
            def one(i: Any, carry: Any) -> Any:
                state, results = carry
                # Behind the barrier is the step alone, as it is compiled outside of a loop.
                state, batch = lax.optimization_barrier((state, self._taken(data, order, i)))
                state, *found = step(state, *batch)
                return state, jax.tree.map(lambda all_, new: all_.at[i - start].set(new), results, (*found,))

            _, *like = jax.eval_shape(step, state, *self.example)
            results = jax.tree.map(lambda value: jnp.zeros(self.limit, value.dtype), (*like,))
            state, (scores, broken) = lax.fori_loop(start, stop, one, (state, results))
            return state, scores, broken

        return run
