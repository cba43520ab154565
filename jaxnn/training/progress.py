"""Shows the progress of a run: a bar on a terminal, plain lines elsewhere, or nothing."""

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Literal, Protocol

from jaxnn.ops.checks import refusal

Progress = bool | Literal["auto", "bar", "lines"]


class Reporter(Protocol):
    """What ``fit`` reports while it runs."""

    def steps(self, epoch: int, done: int, loss: float) -> None:
        """``done`` steps of the epoch were made; ``loss`` is the latest one."""

    def epoch(self, epoch: int, scores: Mapping[str, float]) -> None:
        """The epoch has ended with these scores."""

    def close(self) -> None:
        """The run has ended."""


def style(progress: Progress) -> Literal["bar", "lines", False]:
    """The style for ``progress``: ``"auto"`` means a bar if stderr is a terminal and tqdm is installed."""
    if progress is True or (isinstance(progress, str) and progress == "auto"):
        return "bar" if sys.stderr.isatty() and find_spec("tqdm") else "lines"
    if progress is False:
        return False
    if not isinstance(progress, str) or progress not in ("bar", "lines"):
        raise ValueError(refusal("fit", "progress", "'auto', 'bar', 'lines' or False", progress))
    if progress == "bar" and not find_spec("tqdm"):
        raise ModuleNotFoundError("fit: progress='bar' needs tqdm: pip install tqdm")
    return progress


def reporter(style: Literal["bar", "lines", False], epochs: int, steps_per_epoch: int | None) -> Reporter:
    """The reporter of this style."""
    if style is False:
        return Silence()
    return Bar(epochs, steps_per_epoch) if style == "bar" else Lines(epochs)


def describe(scores: Mapping[str, float]) -> str:
    """``loss 0.1234  val_accuracy 0.9876``."""
    return "  ".join(f"{name} {value:.4f}" for name, value in scores.items())


class Silence:
    """Reports nothing."""

    def steps(self, epoch: int, done: int, loss: float) -> None: ...

    def epoch(self, epoch: int, scores: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class Lines(Silence):
    """One line per epoch, for files and notebooks."""

    def __init__(self, epochs: int):
        self.epochs = epochs

    def epoch(self, epoch: int, scores: Mapping[str, float]) -> None:
        print(f"epoch {epoch:{len(str(self.epochs))}d}/{self.epochs}  {describe(scores)}", flush=True)


class Bar(Lines):
    """A tqdm bar of the whole run, with a line above it per epoch; without an end where that is unknown."""

    def __init__(self, epochs: int, steps_per_epoch: int | None):
        from tqdm import tqdm

        super().__init__(epochs)
        total = None if steps_per_epoch is None else epochs * steps_per_epoch
        self.steps_per_epoch = steps_per_epoch
        self.before = self.latest = 0  #: steps in the epochs before this one, and in this one
        self.bar: Any = tqdm(total=total, unit="step", leave=False)

    def steps(self, epoch: int, done: int, loss: float) -> None:
        self.latest = done
        if self.steps_per_epoch is not None:
            self.before = (epoch - 1) * self.steps_per_epoch
        self.bar.update(self.before + done - self.bar.n)
        self.bar.set_postfix_str(f"epoch {epoch}/{self.epochs}, loss {loss:.4f}")

    def epoch(self, epoch: int, scores: Mapping[str, float]) -> None:
        self.before, self.latest = self.before + self.latest, 0
        self.bar.write(f"epoch {epoch:{len(str(self.epochs))}d}/{self.epochs}  {describe(scores)}")

    def close(self) -> None:
        self.bar.close()
