"""The scores of one epoch, fetched from the device every few steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, isnan
from typing import Any

import jax
import numpy as np

from jaxnn.training.callbacks import Callback
from jaxnn.training.progress import Reporter
from jaxnn.training.score import STEPS
from jaxnn.training.source import Block

#: Steps between two fetches of the scores, where each is dispatched alone.
LOOK_EVERY = 50


class NotFinite(FloatingPointError):
    """A loss or params that are not finite."""

    def __init__(self, fault: str, cause: str = ""):
        super().__init__(
            f"fit: {fault}; {cause}a lower learning rate, clipped gradients (optax.clip_by_global_norm) or "
            f"standardised inputs may help{'' if cause else '; find_nan=True tells where it starts'}"
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
      totals: for every score the sum of its means, each times the examples, or the steps of sequences, that
        it was taken over; where it is steps, also their number.
      examples: how many examples those are.
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
        """The mean of each score over the examples of the epoch; where it is one of steps, over these."""
        self.look()
        return {
            name: self.totals[name] / (self.totals.get(STEPS + name, self.examples) or 1)
            for name in self.names
        }

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
        first = self.first_step + self.done
        scores, broken, counts = _joined(fetched(waiting))
        faults = np.flatnonzero(broken | ~np.isfinite(scores["loss"]))
        made = len(counts) if faults.size == 0 else int(faults[0]) + 1
        self._add({name: row[:made] for name, row in scores.items()}, counts[:made])
        scores = {name: scores[name] for name in self.names}
        if notify and self.on_step:
            rows = zip(*(row[:made].tolist() for row in scores.values()), strict=True)
            for step, values in enumerate(rows, start=first):
                for call in self.on_step:
                    call(step, dict(zip(scores, values, strict=True)))
        loss = float(scores["loss"][made - 1])
        if faults.size:
            raise self._fault(loss)
        self.report.steps(self.epoch, self.done, loss)

    def _add(self, scores: Mapping[str, np.ndarray], counts: np.ndarray) -> None:
        """Adds scores of steps to the totals, one after the other: the same sum in blocks of any size."""
        with np.errstate(invalid="ignore", over="ignore"):  # a metric may be infinite
            for name, row in scores.items():
                over = 1 if name.startswith(STEPS) else scores.get(STEPS + name, counts)
                self.totals[name] = float(np.add.accumulate([self.totals.get(name, 0.0), *(row * over)])[-1])
        self.examples += int(counts.sum())
        self.done += len(counts)

    def _fault(self, loss: float) -> NotFinite:
        """What is wrong after the latest step."""
        if not isfinite(loss):
            fault = f"the loss is {'NaN' if isnan(loss) else 'infinite'}"
        else:
            fault = "the loss is finite, but the update makes params NaN or infinite"
        return NotFinite(f"{fault} at step {self.first_step + self.done - 1} (epoch {self.epoch})")


def fetched(tree: Any) -> Any:
    """The arrays of ``tree``, on the host. On a CPU they are there: to ask for all at once takes longer."""
    return jax.tree.map(np.asarray, tree) if jax.default_backend() == "cpu" else jax.device_get(tree)


def _joined(blocks: Sequence[Block]) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """By step: its scores, in float64, whether it left something not finite, and over how many examples."""
    sizes = [len(block.counts) for block in blocks]  # results have room for more

    def row(values: Sequence[Any], dtype: Any) -> np.ndarray:
        parts = [value.reshape(-1)[:size] for value, size in zip(values, sizes, strict=True)]
        return np.concatenate(parts, dtype=dtype, casting="unsafe")

    scores = {name: row([block.scores[name] for block in blocks], float) for name in blocks[0].scores}
    return scores, row([block.broken for block in blocks], bool), row([b.counts for b in blocks], int)
