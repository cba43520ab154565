"""A run while it goes on: its state, its history, and what reports it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from jaxnn.params import Params
from jaxnn.training import arguments
from jaxnn.training.average import Averaged, average_of
from jaxnn.training.best import Keeper
from jaxnn.training.callbacks import Callback
from jaxnn.training.epoch import Epoch, NotFinite
from jaxnn.training.evaluate import batches, means
from jaxnn.training.gradient import Batch
from jaxnn.training.interrupt import Interrupt, delayed_interrupt
from jaxnn.training.locate import Before, kept
from jaxnn.training.optimizer import found
from jaxnn.training.progress import Reporter
from jaxnn.training.score import Scores
from jaxnn.training.source import CheckedStep, Source
from jaxnn.training.step import TrainState


class Fit(NamedTuple):
    """The result of a run.

    Attributes:
      params: those after the last step; with ``best`` those of the best epoch, with ``average`` averaged.
      history: for ``"loss"``, each metric, and the same with ``val_`` in front, one float per epoch.
    """

    params: Params
    history: dict[str, list[float]]


class Validation(NamedTuple):
    """The scores of params on data that are not trained on."""

    scores: Callable[..., Scores]
    data: Any
    batch_size: int

    def require_fitting(self, params: Params) -> None:
        """Raises, before the first epoch, if the data cannot be scored after it."""
        try:
            batch, _ = next(batches(self.data, self.batch_size))
            jax.eval_shape(self.scores, params, *batch)
        except Exception as error:
            raise ValueError(
                f"fit: validation must fit the net, the loss and the metrics: {error}"
            ) from error

    def __call__(self, params: Params, names: Sequence[str], pause: Callable[[], None]) -> dict[str, float]:
        """By the names of the scores, with ``val_`` in front."""
        found = means(self.scores, params, self.data, self.batch_size, pause)
        return {f"val_{name}": found[name] for name in names}


class Run:
    """The epochs of a run, one after the other."""

    def __init__(
        self,
        source: Source,
        state: TrainState,
        step: CheckedStep,
        report: Reporter,
        names: Sequence[str],
        validate: Validation | None = None,
        keeper: Keeper | None = None,
        on_step: Sequence[Callback] = (),
        on_epoch: Sequence[Callback] = (),
        locate: Callable[[NotFinite, Before, Batch], NotFinite] | None = None,
    ):
        self.source, self.state, self.report, self.validate, self.keeper = (
            source,
            state,
            report,
            validate,
            keeper,
        )
        self.step, self.on_step, self.on_epoch = step, on_step, on_epoch
        self.locate = locate
        self.history: dict[str, list[float]] = {}
        self.scores = Epoch(report, names)

    @property
    def params(self) -> Params:
        """What the run has learnt: the averaged weights where an average is kept."""
        averages = found(Averaged, self.state.opt_state) is not None
        return average_of(self.state) if averages else self.state.params

    def go(self, epochs: int) -> Fit:
        """All epochs, or those until Ctrl-C."""
        with delayed_interrupt() as interrupt:
            try:
                self.source.pause = interrupt
                self.source.prepare(self.step, self.state)
                if self.validate is not None:
                    self.validate.require_fitting(self.params)
                for epoch in range(1, epochs + 1):
                    if self.epoch(epoch, interrupt):
                        break
            except KeyboardInterrupt:
                if interrupt.insistent or arguments.is_deleted(self.state):
                    raise
                self.scores.look()
                steps = int(self.state.step)
                print(f"fit: interrupted after {steps} steps; returning what was learnt so far", flush=True)
            finally:
                self.report.close()
                self.source.close()
        best = None if self.keeper is None else self.keeper.params
        return Fit(self.params if best is None else best, self.history)

    def advance(self) -> bool:
        """The next steps of the epoch; False where it has ended."""
        before = None if self.locate is None else kept(self.state)
        made = self.source.advance(self.state)
        if made is None:
            return False
        self.state, block = made
        self.scores.add(block)
        if before is not None and self.locate is not None:
            try:
                self.scores.look()
            except NotFinite as error:
                raise self.locate(error, before, self.source.latest()) from None
        return True

    def epoch(self, epoch: int, interrupt: Interrupt) -> bool:
        """One epoch; whether the run is to end after it."""
        first = self.scores.first_step + self.scores.done
        self.scores = Epoch(self.report, self.scores.names, epoch, first, self.on_step)
        self.source.start(epoch)
        while self.advance():
            interrupt()
        found = self.scores.means()
        if self.validate is not None:
            found |= self.validate(self.params, self.scores.names, interrupt)
        for name, value in found.items():
            self.history.setdefault(name, []).append(value)
        self.report.epoch(epoch, found)
        for call in self.on_epoch:
            call(epoch, found)
        ended = self.keeper is not None and self.keeper.look(found, self.params)
        if self.keeper is not None and ended:
            print(f"fit: stopped after epoch {epoch}: {self.keeper.reason}", flush=True)
        interrupt()
        return ended
