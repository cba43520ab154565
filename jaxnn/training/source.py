"""Where the steps of a run come from: what the device loop and the loop over batches have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from jaxnn.training.batch import Batch
from jaxnn.training.score import Scores
from jaxnn.training.step import TrainState

#: ``step(state, x, y, mask) -> (state, scores, broken)``: a step, and whether it left something not finite
CheckedStep = Callable[..., tuple[TrainState, Scores, jax.Array]]


class Block(NamedTuple):
    """The results of a few steps in a row, still on the device.

    Attributes:
      scores: by name, one value per step; of one step a scalar will do.
      broken: for every step whether it left something that is not finite.
      counts: for every step over how many examples its scores are means.
    """

    scores: dict[str, Any]
    broken: Any
    counts: np.ndarray | jax.Array


class Source(Protocol):
    """Makes the steps of a run, a block at a time."""

    @property
    def steps(self) -> int | None:
        """How many an epoch has, or None where that is not known."""

    #: a batch like those to come, or its shapes, by which everything is checked before the first step
    example: Batch
    #: called a few times a second while a batch is waited for
    pause: Callable[[], None]
    #: told whether a batch is being read, between two steps, so that nothing is lost by an interrupt
    reading: Callable[[bool], None]
    #: where the data stand after the latest block, if they can tell, in what JSON has
    place: dict[str, Any] | None

    def prepare(self, step: CheckedStep, state: TrainState) -> None:
        """Takes the step that all are to be; raises, without making one, if something in it does not fit."""

    def start(self, epoch: int, done: int = 0) -> None:
        """Begins an epoch, counted from 1, of which ``done`` steps were made before."""

    def advance(self, state: TrainState) -> tuple[TrainState, Block] | None:
        """Makes the next steps, which consume ``state``; None where the epoch has ended."""

    def latest(self) -> Batch:
        """The last batch of the latest block."""

    def close(self) -> None:
        """The run has ended."""
