"""The results of a run: rows with their conditions, as JSON. Nothing else writes into ``results/``."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
VERSION = 1


@dataclass(frozen=True)
class Row:
    """One contender in one case.

    Attributes:
      program: ops, training or overhead.
      family: what the case belongs to: conv, pool, …; of a net or a measurement, its name.
      case: the case's own name, with its shape.
      contender: who was timed.
      mode: forward or both (forward and backward), step, import, trace, compile, dispatch, …
      place: top, scan (time is that of one step of it) or epoch.
      dtype: of inputs and weights.
      status: timed; wrong (its outputs differ, so it was not timed); failed; unsupported.
      note: why, where it was not timed; what its time must be read with, where it was.
      error: the largest over the largest value, against float64; None if there was nothing to compare.
      tolerance: what was allowed.
      n: samples.
      median, q1, q3: seconds per call, with quartiles.
      ratio, ratio_q1, ratio_q3: its time over jaxnn's, round by round: above 1, jaxnn is ahead.
      flops, bytes: what the case cannot avoid, by formula.
      examples: the number per call; None where that means nothing.
      limit: the share reached of the measured rate of the hardware.
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
    """All rows of one run of one program, with the conditions they were taken under."""

    program: str
    environment: Mapping[str, Any]
    limits: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()
    version: int = VERSION

    def save(self, folder: Path = RESULTS) -> Path:
        """Writes ``<program>-<device>-<date>.json``; returns its path."""
        folder.mkdir(parents=True, exist_ok=True)
        device = "".join(c if c.isalnum() else "-" for c in self.environment["device"].lower()).strip("-")
        date = "".join(c for c in self.environment["date"] if c.isalnum())
        path = folder / f"{self.program}-{device}-{date}.json"
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")
        return path


def load(path: Path) -> Run:
    """A run as it was saved; raises a sentence if the file is something else."""
    try:
        found = json.loads(Path(path).read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise ValueError(f"{path}: not a run of these benchmarks, version {VERSION}")
    known = {f.name for f in fields(Row)}
    rows = tuple(Row(**{k: v for k, v in row.items() if k in known}) for row in found["rows"])
    return Run(found["program"], found["environment"], found["limits"], rows)


def latest(programs: Iterable[str], folder: Path = RESULTS) -> list[Run]:
    """Of each program and device the run with the latest date."""
    newest: dict[tuple[str, str], Run] = {}
    for run in map(load, sorted(folder.glob("*.json"))):
        key = run.program, run.environment["device"]
        if run.program in programs and (
            key not in newest or newest[key].environment["date"] <= run.environment["date"]
        ):
            newest[key] = run
    return list(newest.values())
