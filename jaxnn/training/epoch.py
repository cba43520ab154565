"""The scores of one epoch, fetched from the device every few steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from math import isfinite, isnan

import jax
import numpy as np

from jaxnn.training.callbacks import Callback
from jaxnn.training.progress import Reporter
from jaxnn.training.source import Block

#: Steps between two fetches of the scores, where each is dispatched alone.
LOOK_EVERY = 50


class NotFinite(FloatingPointError):
    """A loss or params that are not finite."""

    def __init__(self, fault: str, cause: str = ""):
        super().__init__(
            f"fit: {fault}; {cause}a lower learning rate, clipped gradients (optax.clip_by_global_norm) or "
            "standardised inputs may help"
        )
        self.fault = fault

    def because(self, cause: str) -> NotFinite:
        """The same with its cause, a sentence."""
        return NotFinite(self.fault, f"{cause[0].lower()}{cause[1:].rstrip('.')}; ")


class Epoch:
    """The scores of one epoch's steps, and whether each step left everything finite.

    Attributes:
      names: of the scores, in the order in which they are reported.
      done: how many of its steps were fetched.
      totals: for every score the sum of its means, each times the examples that it was taken over.
      examples: how many those are.
    """

    def __init__(
        self,
        report: Reporter,
        names: Sequence[str],
        epoch: int = 1,
        first_step: int = 1,
        on_step: Sequence[Callback] = (),
    ):
        self.report, self.names, self.on_step = report, names, on_step
        self.epoch, self.first_step = epoch, first_step
        self.waiting: list[Block] = []
        self.done = self.examples = 0
        self.totals: dict[str, float] = {}

    def add(self, block: Block) -> None:
        """Adds the results of a block of steps; fetches those before it if there are enough."""
        self.waiting.append(block)
        if len(block.counts) > 1 or len(self.waiting) > LOOK_EVERY:
            self.look(but=1)

    @property
    def latest(self) -> int:
        """The latest step of the run that was made, counted from 1; its scores may still be on the device."""
        return self.first_step + self.done - 1 + sum(len(block.counts) for block in self.waiting)

    def resume(self, done: int, examples: int, totals: Mapping[str, float]) -> None:
        """Goes on with an epoch of which a part was made before."""
        self.done, self.examples, self.totals = done, examples, dict(totals)

    def means(self) -> dict[str, float]:
        """The mean of each score over the examples of the epoch."""
        self.look()
        return {name: self.totals[name] / self.examples for name in self.names}

    def look(self, *, but: int = 0, notify: bool = True) -> None:
        """Fetches pending scores; raises if the loss of a step, or the params after it, are not finite.

        Args:
          but: so many of the latest blocks, at which the device may still be at work, are left pending.
          notify: whether callbacks are called; all steps are counted before the first call.
        """
        ready = len(self.waiting) - but
        if ready <= 0:
            return
        waiting, self.waiting = self.waiting[:ready], self.waiting[ready:]
        first, rows, fault = self.first_step + self.done, [], None
        for scores, broken, count in chain.from_iterable(map(self._steps_of, jax.device_get(waiting))):
            self._count(scores, count)
            rows.append(scores)
            if broken or not isfinite(scores["loss"]):
                fault = self._fault(scores["loss"])
                break
        for step, scores in enumerate(rows, start=first) if notify else ():
            for call in self.on_step:
                call(step, scores)
        if fault:
            raise fault
        self.report.steps(self.epoch, self.done, rows[-1]["loss"])

    def _count(self, scores: dict[str, float], count: int) -> None:
        for name, value in scores.items():
            self.totals[name] = self.totals.get(name, 0.0) + value * count
        self.examples += count
        self.done += 1

    def _steps_of(self, block: Block) -> Iterator[tuple[dict[str, float], bool, int]]:
        """By step: its scores, whether it left something not finite, and over how many examples they are."""
        columns = [np.atleast_1d(block.scores[name]).astype(float).tolist() for name in self.names]
        broken, counts = np.atleast_1d(block.broken).tolist(), block.counts.tolist()
        for *values, bad, count in zip(*columns, broken, counts, strict=False):  # results have room for more
            yield dict(zip(self.names, values, strict=True)), bad, count

    def _fault(self, loss: float) -> NotFinite:
        """What is wrong after the latest step."""
        if not isfinite(loss):
            fault = f"the loss is {'NaN' if isnan(loss) else 'infinite'}"
        else:
            fault = "the loss is finite, but the update makes params NaN or infinite"
        return NotFinite(f"{fault} at step {self.first_step + self.done - 1} (epoch {self.epoch})")
