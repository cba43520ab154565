"""The results of a run: rows with their conditions, as JSON. Nothing else writes into ``results/``."""

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
#: 2 added ``progress``, ``joules``, the statuses of conformance and of processes of their own, and the limits
#: that belong to no dtype; 3 added ``regret``. Older files are read too.
VERSION = 3
READABLE = (1, 2, 3)
STATUSES = ("timed", "right", "wrong", "failed", "crashed", "too slow", "unsupported")
#: What a run shall not lose when it is compared with an earlier one.
GOOD, BAD = ("timed", "right"), ("wrong", "failed", "crashed", "too slow")


@dataclass(frozen=True)
class Row:
    """One contender in one case.

    Attributes:
      program: ops, training, speedrun, generation, overhead, forms, fit or conformance.
      family: what the case belongs to: conv, pool, …; of a net or a measurement, its name.
      case: the case's own name, with its shape.
      contender: who was timed.
      mode: forward or both (forward and backward), step, run (all steps and the test), import, trace,
        compile, call, …; of conformance, the pass.
      place: top, scan (time is that of one step of it), epoch or loop (that of one step of many in a call).
      dtype: of inputs and weights.
      status: timed, or right (conformance); wrong (its outputs differ, so it was not timed); failed (an
        exception); crashed (its process died); too slow (it was stopped); unsupported.
      note: why, where it was not timed; what its time must be read with, where it was.
      error: the largest over the largest value, against float64; None if there was nothing to compare. Of
        conformance, in units of the dtype's last place at the largest value.
      tolerance: what was allowed.
      n: samples.
      median, q1, q3: seconds per call, with quartiles.
      ratio, ratio_q1, ratio_q3: its time over jaxnn's, round by round: above 1, jaxnn is ahead.
      flops, bytes: what the case cannot avoid, by formula.
      examples: the number per call; None where that means nothing.
      limit: the share reached of the measured rate of the hardware.
      joules: of energy per call, where it was asked for and can be measured.
      regret: of the chosen form, how much longer it takes than the best, as a share of the best's time.
    """

    program: str
    family: str
    case: str
    contender: str
    mode: str
    place: str = "top"
    dtype: str = "float32"
    status: str = "timed"
    note: str = ""
    error: float | None = None
    tolerance: float | None = None
    n: int = 0
    median: float | None = None
    q1: float | None = None
    q3: float | None = None
    ratio: float | None = None
    ratio_q1: float | None = None
    ratio_q3: float | None = None
    flops: int | None = None
    bytes: int | None = None
    examples: int | None = None
    limit: float | None = None
    joules: float | None = None
    regret: float | None = None

    @property
    def group(self) -> tuple[str, ...]:
        """What rows have in common that were timed against each other."""
        return (self.program, self.family, self.case, self.mode, self.place, self.dtype)

    @property
    def key(self) -> tuple[str, ...]:
        """What distinguishes this row from all others of a run."""
        return (*self.group, self.contender)


@dataclass(frozen=True)
class Run:
    """All rows of one run of one program, with the conditions they were taken under.

    Attributes:
      program: that of the rows, or ``all``.
      environment: of ``environment.describe``.
      limits: by dtype the rates of ``limits.measure``; under ``dispatch`` the seconds of an empty call.
      rows: what was measured.
      progress: of a run that can be continued: ``planned`` and ``done`` (the names of units), ``attempts``
        (by name, of those that never ended), ``spent`` (seconds).
    """

    program: str
    environment: Mapping[str, Any]
    limits: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()
    progress: Mapping[str, Any] = field(default_factory=dict)
    version: int = VERSION

    @property
    def stem(self) -> str:
        """``<program>-<device>-<date>``."""
        device = "".join(c if c.isalnum() else "-" for c in self.environment["device"].lower()).strip("-")
        date = "".join(c for c in self.environment["date"] if c.isalnum())
        return f"{self.program}-{device}-{date}"

    def save(self, folder: Path = RESULTS) -> Path:
        """Writes ``<stem>.json``, whole or not at all; returns its path."""
        path = folder / f"{self.stem}.json"
        write(path, json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")
        return path

    def by_program(self) -> list["Run"]:
        """A run per program: of a run of all, its parts."""
        if self.program != "all":
            return [self]
        programs = dict.fromkeys(row.program for row in self.rows)
        return [
            replace(self, program=name, rows=tuple(row for row in self.rows if row.program == name))
            for name in programs
        ]


def as_dict(row: Row) -> dict[str, Any]:
    """A row as JSON has it."""
    return asdict(row)


def write(path: Path, text: str) -> None:
    """Puts ``text`` into ``path`` in one move, so that no reader and no crash ever finds half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def load(path: Path) -> Run:
    """A run as it was saved; raises a sentence if the file is something else."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    if not isinstance(found, dict) or found.get("version") not in READABLE:
        raise ValueError(f"{path}: not a run of these benchmarks, version 1 to {VERSION}")
    known = {f.name for f in fields(Row)}
    rows = tuple(Row(**{k: v for k, v in row.items() if k in known}) for row in found["rows"])
    return Run(found["program"], found["environment"], found["limits"], rows, found.get("progress", {}))


def as_csv(run: Run) -> str:
    """The rows with a head of their fields' names; what is None is empty."""
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(f.name for f in fields(Row))
    table.writerows(map(astuple, run.rows))
    return file.getvalue()


def latest(programs: Iterable[str], folder: Path = RESULTS) -> list[Run]:
    """Of each program and device the run with the latest date."""
    newest: dict[tuple[str, str], Run] = {}
    for whole in map(load, sorted(folder.glob("*.json"))):
        for run in whole.by_program():
            key = run.program, run.environment["device"]
            if run.program in programs and (
                key not in newest or newest[key].environment["date"] <= run.environment["date"]
            ):
                newest[key] = run
    return list(newest.values())
