"""What is reported of a run while it goes on: to one's own functions, and to files."""

from __future__ import annotations

import atexit
import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from jaxnn.ops import checks
from jaxnn.ops.checks import refusal

#: ``f(step, scores)`` or ``f(epoch, means)``, the number counted from 1
Callback = Callable[[int, Mapping[str, float]], Any]


def given(owner: str, name: str, value: Any) -> tuple[Callback, ...]:
    """The callbacks passed: None, one function, or a sequence of them."""
    if value is None:
        return ()
    functions = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    for function in functions:
        if not callable(function):
            raise TypeError(
                refusal(
                    owner, name, f"a function of ({name.removeprefix('on_')}, scores), or several", function
                )
            )
    return functions


class JSONLines:
    """A callback that appends one JSON object per call to a file: ``{"step": 1, "loss": 0.5}``.

    Every line is written out at once, so that a file of a run that was killed holds all but its last lines.
    A score that is not finite is written as null, which JSON can't express otherwise.

    Args:
      path: of the file, which is created or continued; its folder must exist.
      name: what the number is called, ``"step"`` or ``"epoch"``, say.

    Raises:
      OSError: the file can't be written.

    >>> import pathlib, tempfile, jaxnn as nn
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "run.jsonl"
    >>> nn.training.JSONLines(path)(1, {"loss": 0.5})
    >>> print(path.read_text())
    {"step": 1, "loss": 0.5}
    <BLANKLINE>
    """

    def __init__(self, path: str | Path, name: str = "step"):
        self.path, self.name = _path("JSONLines", path), name
        checks.text("JSONLines", "name", name)
        self.path.open("a").close()  # if it can't be written, this fails at once

    def __call__(self, number: int, scores: Mapping[str, float]) -> None:
        row = {name: value if abs(value) < float("inf") else None for name, value in scores.items()}
        with self.path.open("a") as file:
            file.write(json.dumps({self.name: number, **row}) + "\n")


class CSV:
    """A callback that appends one row per call to a file, under the names of the scores.

    Args:
      path: of the file, which is created or continued; its folder must exist.
      name: what the column of the number is called.

    Raises:
      OSError: the file can't be written.
      ValueError: when called, scores of other names than the file's first line has.

    >>> import pathlib, tempfile, jaxnn as nn
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "run.csv"
    >>> nn.training.CSV(path, "epoch")(1, {"loss": 0.5, "val_loss": 0.75})
    >>> print(path.read_text())
    epoch,loss,val_loss
    1,0.5,0.75
    <BLANKLINE>
    """

    def __init__(self, path: str | Path, name: str = "step"):
        self.path, self.name = _path("CSV", path), name
        checks.text("CSV", "name", name)
        self.path.open("a").close()

    def __call__(self, number: int, scores: Mapping[str, float]) -> None:
        names = [self.name, *scores]
        with self.path.open("a+", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if file.tell() == 0:
                writer.writerow(names)
            elif (found := self._names(file)) != names:
                raise ValueError(f"CSV: scores must be those of {self.path}, {found}, got {names}")
            writer.writerow([number, *scores.values()])

    def _names(self, file: IO[str]) -> list[str]:
        file.seek(0)
        return next(csv.reader(file))  # what is written goes to the end in any case


class TensorBoard:
    """A callback that writes the scores as TensorBoard's scalars, by tensorboardX.

    Args:
      folder: where the event files go; it is created.
      prefix: what stands before the names, ``"train/"`` say.

    Raises:
      ModuleNotFoundError: tensorboardX is not installed.
    """

    def __init__(self, folder: str | Path, prefix: str = ""):
        try:
            from tensorboardX import SummaryWriter
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("TensorBoard: needs tensorboardX: pip install tensorboardX") from error
        checks.text("TensorBoard", "prefix", prefix)
        self.prefix = prefix
        self.writer = SummaryWriter(str(_path("TensorBoard", folder)), flush_secs=1)
        atexit.register(self.close)

    def __call__(self, number: int, scores: Mapping[str, float]) -> None:
        for name, value in scores.items():
            self.writer.add_scalar(f"{self.prefix}{name}", value, number)

    def close(self) -> None:
        """Writes what is still waiting; else that happens within a second, and at the end of the program."""
        self.writer.close()


def _path(owner: str, value: Any) -> Path:
    if not isinstance(value, str | Path):
        raise TypeError(refusal(owner, "path", "a path", value))
    return Path(value)
