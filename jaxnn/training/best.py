"""The best params of a run, and when to stop waiting for better ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.ops import checks
from jaxnn.params import Params


@dataclass(frozen=True)
class Best:
    """What ``fit(best=…)`` keeps: the params after the epoch with the best score.

    Args:
      score: a name of the run's history, such as ``"loss"`` or ``"val_accuracy"``.
      higher: whether higher is better, as of an accuracy; lower is, by default.
      patience: the run ends after this many epochs in a row without a better score; None: it goes on.
      margin: how much better a score must be to count as better, 0 or more.

    Raises:
      TypeError, ValueError: an argument that is not as said above.

    >>> import jaxnn as nn
    >>> nn.training.Best("val_accuracy", higher=True, patience=5)
    Best(score='val_accuracy', higher=True, patience=5, margin=0.0)
    """

    score: str = "val_loss"
    higher: bool = False
    patience: int | None = None
    margin: float = 0.0

    def __post_init__(self) -> None:
        owner = "Best"
        checks.text(owner, "score", self.score)
        checks.flag(owner, "higher", self.higher)
        if self.patience is not None:
            checks.integer(owner, "patience", self.patience, least=1)
        checks.number(owner, "margin", self.margin, least=0)


class Keeper:
    """The best params so far, by the rule of a ``Best``; a NaN is never better."""

    def __init__(self, rule: Best):
        self.rule = rule
        self.params: Params | None = None
        self.score: float | None = None
        self.waited = 0  #: epochs since it was reached

    def look(self, scores: Mapping[str, float], params: Params) -> bool:
        """Looks at the scores of an epoch; whether the run is to end here."""
        new = scores[self.rule.score]
        if self._is_better(new):
            self.score, self.params, self.waited = new, _copied(params), 0
        else:
            self.waited += 1
        return self.rule.patience is not None and self.waited >= self.rule.patience

    @property
    def reason(self) -> str:
        """Why the run ends."""
        return f"{self.rule.score} has not become better than {self.score} for {self.waited} epochs"

    def _is_better(self, new: float) -> bool:
        if self.score is None:
            return new == new
        return (
            new > self.score + self.rule.margin if self.rule.higher else new < self.score - self.rule.margin
        )


def _copied(params: Any) -> Any:
    return jax.tree.map(jnp.copy, params)
