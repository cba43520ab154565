"""The scores of one epoch, fetched from the device every few steps."""

from collections.abc import Iterable
from math import isfinite, isnan

import jax

from jaxnn.training.progress import Reporter
from jaxnn.training.score import Scores

#: Steps between two fetches of the scores. Each fetch waits for the device.
LOOK_EVERY = 50


class Epoch:
    """The scores of one epoch's steps, and whether each step left everything finite."""

    def __init__(self, report: Reporter, epoch: int = 1, first_step: int = 1):
        self.report, self.epoch, self.first_step = report, epoch, first_step
        self.waiting: list[tuple[Scores, jax.Array]] = []
        self.counts: list[int] = []
        self.scores: list[dict[str, float]] = []

    def add(self, scores: Scores, broken: jax.Array, count: int) -> None:
        """Adds the results of a step over ``count`` examples, still on the device."""
        self.waiting.append((scores, broken))
        self.counts.append(count)
        if len(self.waiting) == LOOK_EVERY:
            self.look()

    def means(self, names: Iterable[str]) -> dict[str, float]:
        """The mean of each score over the examples of the epoch."""
        self.look()
        total = sum(self.counts)
        weighted = list(zip(self.scores, self.counts, strict=True))
        return {name: sum(scores[name] * n for scores, n in weighted) / total for name in names}

    def look(self) -> None:
        """Fetches pending scores; raises if the loss of a step, or the params after it, are not finite."""
        if not self.waiting:
            return
        for scores, broken in jax.device_get(self.waiting):
            self.scores.append({name: float(value) for name, value in scores.items()})
            self._require_finite(self.scores[-1]["loss"], bool(broken))
        self.waiting.clear()
        self.report.steps(self.epoch, len(self.scores), self.scores[-1]["loss"])

    def _require_finite(self, loss: float, broken: bool) -> None:
        if isfinite(loss) and not broken:
            return
        at = f"step {self.first_step + len(self.scores) - 1} (epoch {self.epoch})"
        if not isfinite(loss):
            fault = f"the loss is {'NaN' if isnan(loss) else 'infinite'} at {at}"
        else:
            fault = f"the loss is finite, but the update makes params NaN or infinite at {at}"
        raise FloatingPointError(
            f"fit: {fault}; a lower learning rate, clipped gradients (optax.clip_by_global_norm) or "
            "standardised inputs may help"
        )
