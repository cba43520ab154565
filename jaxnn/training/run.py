"""A run while it goes on: its state, its history, and what reports it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from signal import SIGTERM
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.distribution.sharding import Sharding
from jaxnn.params import Params
from jaxnn.training import arguments
from jaxnn.training.average import Averaged, average_of
from jaxnn.training.batch import Batch
from jaxnn.training.best import Keeper
from jaxnn.training.callbacks import Callback
from jaxnn.training.checkpoints import SaveFailed, Saver
from jaxnn.training.epoch import Epoch, NotFinite
from jaxnn.training.evaluate import batches, means
from jaxnn.training.interrupt import delayed_interrupt, delayed_termination
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
    sharding: Sharding | None = None

    def require_fitting(self, params: Params) -> None:
        """Raises, before the first epoch, if the data cannot be scored after it."""
        try:
            batch, _ = next(batches(self._of(1), self.batch_size, self.sharding))
            jax.eval_shape(self.scores, params, *batch)
        except Exception as error:
            raise ValueError(
                f"fit: validation must fit the net, the loss and the metrics: {error}"
            ) from error

    def __call__(
        self, params: Params, names: Sequence[str], epoch: int, pause: Callable[[], None]
    ) -> dict[str, float]:
        """By the names of the scores, with ``val_`` in front."""
        found = means(self.scores, params, self._of(epoch), self.batch_size, pause, self.sharding)
        return {f"val_{name}": found[name] for name in names}

    def _of(self, epoch: int) -> Any:
        return self.data if isinstance(self.data, Iterable) else self.data(epoch)


@dataclass
class Run:
    """The epochs of a run, one after the other.

    Attributes:
      epoch, done: where it stands: ``done`` steps of this epoch were made.
      ended: whether it has come to its end before its last epoch.
    """

    source: Source
    state: TrainState
    step: CheckedStep
    report: Reporter
    names: Sequence[str]
    validate: Validation | None = None
    keeper: Keeper | None = None
    on_step: Sequence[Callback] = ()
    on_epoch: Sequence[Callback] = ()
    locate: Callable[[NotFinite, Before, Batch], NotFinite] | None = None
    saver: Saver | None = None

    def __post_init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch, self.ended = 1, False
        self.pause: Callable[[], None] = lambda: None
        self.scores = Epoch(self.report, self.names, on_step=self.on_step)

    @property
    def params(self) -> Params:
        """What the run has learnt: the averaged weights where an average is kept."""
        averages = found(Averaged, self.state.opt_state) is not None
        return average_of(self.state) if averages else self.state.params

    def go(self, epochs: int) -> Fit:
        """All epochs, or those until Ctrl-C."""
        together = self.saver is not None and self.saver.several
        alone = self.saver is not None and not together
        with delayed_interrupt() as interrupt, delayed_termination(alone) as terminate:

            def pause() -> None:
                interrupt()
                terminate()

            def reading(begun: bool) -> None:
                interrupt.at_once = terminate.at_once = begun

            self.source.pause = self.pause = pause
            self.source.reading = reading
            try:
                self._prepare()
                while self.epoch <= epochs and not self.ended:
                    self._go_through()
            except KeyboardInterrupt:
                if interrupt.insistent or together or arguments.is_deleted(self.state):
                    raise
                self.scores.look()
                self.save(wait=True)
                steps = int(self.state.step)
                print(f"fit: interrupted after {steps} steps; returning what was learnt so far", flush=True)
            except BaseException as error:
                if not isinstance(error, NotFinite | SaveFailed) and not arguments.is_deleted(self.state):
                    self._save_last()
                raise
            finally:
                self.report.close()
                self.source.close()
        best = None if self.keeper is None else self.keeper.params
        return Fit(self.params if best is None else best, self.history)

    def resume(self, record: Mapping[str, Any]) -> None:
        """Goes on where the run of this record, as ``save`` makes one, was saved."""
        if self.saver is None:
            return
        best = None if record["best"] is None else jax.tree.map(jnp.copy, self.params)
        tree = self.saver.restore({"state": self.state, "best": best}, record["arrays"])
        self.state, self.history = tree["state"], {name: list(row) for name, row in record["history"].items()}
        self.epoch, self.ended = record["epoch"], record["ended"]
        first = int(self.state.step) - record["done"] + 1
        self.scores = Epoch(self.report, self.names, self.epoch, first, self.on_step)
        self.scores.resume(record["done"], record["examples"], record["totals"])
        if self.keeper is not None and best is not None:
            self.keeper.params = tree["best"]
            self.keeper.score, self.keeper.waited = record["best"]

    def save(self, *, wait: bool = False) -> None:
        """Saves the run as it is; all its pending scores must have been fetched."""
        if self.saver is None:
            return
        keeper, scores = self.keeper, self.scores
        best = None if keeper is None or keeper.params is None else [keeper.score, keeper.waited]
        record = {
            "epoch": self.epoch, "done": scores.done, "examples": scores.examples, "totals": scores.totals,
            "ended": self.ended, "history": self.history, "best": best, "place": self.source.place,
        }  # fmt: skip
        if jax.process_count() > 1:
            record["place"] = None  # each process has one of its own
        tree = {"state": self.state, "best": None if keeper is None else keeper.params}
        self.saver.save(scores.first_step + scores.done - 1, tree, record, wait=wait)

    def _save_last(self) -> None:
        """Saves the run before an error ends it, unless a step that is still pending was not finite.

        Of several processes, the others may not have met the error: they would not save with this one.
        """
        if self.saver is not None and not self.saver.several:
            with suppress(NotFinite):
                self.scores.look(notify=False)
                self.save(wait=True)

    def _prepare(self) -> None:
        """Raises, before the first step, if something does not fit."""
        self.source.prepare(self.step, self.state)
        if self.validate is not None:
            self.validate.require_fitting(self.params)

    def _go_through(self) -> None:
        """The epoch, or what is left of it."""
        self.source.start(self.epoch, self.scores.done)
        while self._advance():
            self._save_now_and_then()
            self._leave_if_told()
            self.pause()
        means = self.scores.means()
        if self.validate is not None:
            means |= self.validate(self.params, self.names, self.epoch, self.pause)
        for name, value in means.items():
            self.history.setdefault(name, []).append(value)
        epoch, reason = self.epoch, None
        if self.keeper is not None and self.keeper.look(means, self.params):
            self.ended, reason = True, self.keeper.reason
        first = self.scores.first_step + self.scores.done
        self.epoch, self.scores = epoch + 1, Epoch(self.report, self.names, epoch + 1, first, self.on_step)
        self.report.epoch(epoch, means)
        for call in self.on_epoch:
            call(epoch, means)
        if reason is not None:
            print(f"fit: stopped after epoch {epoch}: {reason}", flush=True)
        self.save()
        self.pause()

    def _advance(self) -> bool:
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

    def _save_now_and_then(self) -> None:
        if self.saver is None or self.saver.every is None:
            return
        if self.scores.latest - (self.saver.saved or 0) >= self.saver.every:
            self.scores.look()
            self.save()

    def _leave_if_told(self) -> None:
        if self.saver is not None and self.saver.is_told_to_leave(self.scores.latest):
            self.scores.look()
            self.save(wait=True)
            raise SystemExit(128 + SIGTERM)
