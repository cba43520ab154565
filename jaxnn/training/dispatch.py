"""Several steps in one program, as many at a time as take about a tenth of a second."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.training.batch import Batch
from jaxnn.training.score import Scores
from jaxnn.training.source import CheckedStep
from jaxnn.training.step import TrainState

#: Seconds that one dispatch is meant to take: progress is shown and Ctrl-C heard between two of them.
TARGET = 0.1


class Dispatch:
    """Steps ``start`` to ``stop`` of data that hold the batches of several, in one dispatch.

    One program is compiled for any number of steps: a loop whose bounds are arguments. So how many steps
    there are per dispatch, and where an epoch was interrupted, doesn't change a bit of the results. Two
    dispatches are under way at any time: the device has the next while the results of one are fetched.

    Args:
      taken: ``taken(data, i)``: the batch of step i, traced.
      limit: how many steps a dispatch may have.

    Attributes:
      size: how many steps the next dispatch should have.
    """

    def __init__(self, taken: Callable[[Any, Any], Batch], limit: int):
        self.taken, self.limit, self.size = taken, limit, 1
        self._before: Any = None  # a result of the dispatch before, to wait for
        self._latest: Any = None  # and of the latest
        self._idle = True  # whether the one before was ready when the latest was made
        self._ready: float | None = None  # when the one before was ready

    def prepare(self, step: CheckedStep, state: TrainState, example: Batch) -> None:
        """Takes the step; raises, without making one, if something in it doesn't fit.

        One that gives a state of other dtypes than it was given, as some optimisers do in half precision,
        can't be in a loop: each dispatch then has one.
        """
        if _is_steady(step, state, example):
            self._program = jax.jit(self._loop(step), donate_argnums=0)
        else:
            self.limit, self._program = 1, jax.jit(self._single(step), donate_argnums=0)

    def __call__(self, state: TrainState, data: Any, start: int, stop: int) -> tuple[TrainState, Scores, Any]:
        """The state after these steps, and for each its scores and whether it left something not finite.

        There is room for more results: the first ``stop - start`` count.
        """
        self._before, self._idle = self._latest, self._latest is None or self._latest.is_ready()
        state, scores, self._latest = self._program(state, data, np.int32(start), np.int32(stop))
        return state, scores, self._latest

    def wait(self) -> None:
        """Waits for the dispatch before the latest; by its time the size of the next is chosen.

        Where it was ready before the latest was made, its time is not known, but only that it took no longer
        than until now: the host may have done something else, such as a validation.
        """
        if self._before is None:
            return
        jax.block_until_ready(self._before)
        now = perf_counter()
        if self._ready is not None:
            taken = now - self._ready
            if taken < TARGET / 2:
                self.size = min(2 * self.size, self.limit)
            elif taken > TARGET and not self._idle:
                self.size = max(self.size // 2, 1)
        self._ready = now

    def _single(self, step: CheckedStep) -> Callable[..., Any]:
        def run(state: TrainState, data: Any, start: Any, stop: Any) -> Any:
            return step(state, *self.taken(data, start))

        return run

    def _loop(self, step: CheckedStep) -> Callable[..., Any]:
        def run(state: TrainState, data: Any, start: Any, stop: Any) -> Any:
            def one(i: Any, carry: Any) -> Any:
                state, results = carry
                # Behind the barrier is the step alone, as it is compiled outside of a loop.
                state, batch = lax.optimization_barrier((state, self.taken(data, i)))
                state, *found = step(state, *batch)
                return state, jax.tree.map(lambda all_, new: all_.at[i - start].set(new), results, (*found,))

            _, *like = jax.eval_shape(lambda: step(state, *self.taken(data, start)))
            results = jax.tree.map(lambda value: jnp.zeros(self.limit, value.dtype), (*like,))
            state, (scores, broken) = lax.fori_loop(start, stop, one, (state, results))
            return state, scores, broken

        return run


def _is_steady(step: CheckedStep, state: TrainState, batch: Batch) -> bool:
    """Whether a step gives a state of the shapes and dtypes it was given, which a loop needs."""
    after, *_ = jax.eval_shape(step, state, *batch)
    kinds = [[(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)] for tree in (state, after)]
    structures: Any = [jax.tree.structure(tree) for tree in (state, after)]
    return kinds[0] == kinds[1] and structures[0] == structures[1]
