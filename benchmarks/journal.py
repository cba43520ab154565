"""A run that grows unit by unit, in a file that always holds all of it, until a budget is spent.

Whatever ends the process (the budget, Ctrl-C, a crash, a lost machine), the next one goes on after the last
unit.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import page, record
from benchmarks.plan import Unit
from benchmarks.record import Row, Run

#: How often the process may die in a unit before the unit is left out.
ATTEMPTS = 2
#: Two runs whose conditions agree in these are one run in pieces.
SAME = ("device", "platform", "threads", "python", "system", "versions", "revision", "xla_flags")
SAME_OPTIONS = (
    "contenders", "dtype", "energy", "isolate", "only", "passes", "precision", "repeats", "seconds", "shapes",
)  # fmt: skip

Measure = Callable[[Unit], list[Row]]


@dataclass
class Journal:
    """A run that grows, and the file that always holds all of it."""

    run: Run
    folder: Path

    def save(self) -> Path:
        return self.run.save(self.folder)

    @property
    def done(self) -> set[str]:
        return set(self.run.progress.get("done", ()))

    def attempts(self, unit: Unit) -> int:
        """How often a process began with this unit and never came back."""
        return int(self.run.progress.get("attempts", {}).get(unit.name, 0))

    def begin(self, unit: Unit) -> None:
        """Notes that a unit is being measured, in case that kills the process."""
        self._tried(unit, self.attempts(unit) + 1)
        self.save()

    def give_up(self, unit: Unit) -> None:
        """Notes that a unit was interrupted, which is not its fault."""
        self._tried(unit, 0)
        self.save()

    def add(self, unit: Unit, rows: Sequence[Row], seconds: float) -> None:
        """Saves a unit's rows."""
        self._tried(unit, 0)
        progress = {
            **self.run.progress,
            "done": [*self.run.progress.get("done", ()), unit.name],
            "spent": round(self.run.progress.get("spent", 0.0) + seconds, 3),
        }
        self.run = replace(self.run, rows=(*self.run.rows, *rows), progress=progress)
        self.save()

    def _tried(self, unit: Unit, times: int) -> None:
        attempts = {**self.run.progress.get("attempts", {}), unit.name: times}
        kept = {name: count for name, count in attempts.items() if count}
        self.run = replace(self.run, progress={**self.run.progress, "attempts": kept})


def opened(
    program: str, folder: Path, conditions: Mapping[str, Any], *, fresh: bool = False
) -> Journal | None:
    """The latest run of a program in the folder, made under the same conditions; None if there is none."""
    if fresh or not folder.is_dir():
        return None
    alike = []
    for path in sorted(folder.glob(f"{program}-*.json")):
        run = record.load(path)
        there, here = run.environment, conditions
        same = all(there.get(name) == here.get(name) for name in SAME)
        options = all(there["options"].get(name) == here["options"].get(name) for name in SAME_OPTIONS)
        if same and options:
            alike.append(run)
    return Journal(max(alike, key=lambda run: run.environment["date"]), folder) if alike else None


def carried_out(
    units: Sequence[Unit],
    into: Journal,
    measure: Measure,
    line: Callable[[Unit, Sequence[Row]], str],
    *,
    seconds: float,
    entrants: Sequence[str],
) -> None:
    """Measures until the budget is spent, a line per unit; writes the file and what stands beside it.

    Ctrl-C ends it with all that is measured so far written, and exit status 130.
    """
    interrupted = False
    try:
        for unit, rows, gone, left in measured(units, into, measure, seconds=seconds, entrants=entrants):
            print(f"[{place(into, units, gone, left)}] {line(unit, rows)}", flush=True)
    except KeyboardInterrupt:
        interrupted = True
    path = into.save()
    written = [path, *page.beside(into.run, path)]
    print(f"\n{summary(into.run, len(units))}\nwritten: {', '.join(map(str, written))}")
    if interrupted:
        raise SystemExit(130)


def measured(
    units: Sequence[Unit],
    into: Journal,
    measure: Measure,
    *,
    seconds: float,
    entrants: Sequence[str],
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[tuple[Unit, list[Row], float, float]]:
    """Measures what is not done yet until the budget is spent: each unit, its rows, seconds gone and left.

    A unit is not begun if those of its program have taken longer than what is left. ``left`` is what the rest
    would take at the pace so far, or what is left of the budget if that is less.
    """
    start = clock()
    taken: dict[str, list[float]] = {}
    todo = [unit for unit in units if unit.name not in into.done]
    for i, unit in enumerate(todo):
        before = clock()
        if before - start + usual(taken, unit) > seconds:
            continue  # a unit of another program may still fit
        if into.attempts(unit) >= ATTEMPTS:
            note = f"the process died here {ATTEMPTS} times; --isolate finds out in whom"
            rows = [blank(unit, name, "crashed", note) for name in entrants]
        else:
            into.begin(unit)
            try:
                rows = measure(unit)
            except KeyboardInterrupt:
                into.give_up(unit)
                raise
            except Exception as error:  # what ends one unit must not end the others
                note = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                rows = [blank(unit, name, "failed", note) for name in entrants]
        now = clock()
        taken.setdefault(unit.program, []).append(now - before)
        into.add(unit, rows, now - before)
        rest = sum(usual(taken, other) for other in todo[i + 1 :])
        yield unit, rows, now - start, min(rest, max(seconds - (now - start), 0.0))


def usual(taken: Mapping[str, Sequence[float]], unit: Unit) -> float:
    """Seconds that a unit of this program has taken in the mean; 0 where nothing is known."""
    known = taken.get(unit.program, ())
    return sum(known) / len(known) if known else 0.0


def blank(unit: Unit, contender: str, status: str, note: str) -> Row:
    """The row of a contender that was not timed."""
    program, family, case, mode, place, dtype = unit.group
    return Row(program, family, case, contender, mode, place, dtype, status=status, note=note)


def place(into: Journal, units: Sequence[Unit], gone: float, left: float) -> str:
    """How far it is, in a few words."""
    return f"{len(into.done)}/{len(units)}, {clock_face(gone)} gone, about {clock_face(left)} left"


def clock_face(seconds: float) -> str:
    """As a clock shows it.

    >>> clock_face(95.2), clock_face(3600)
    ('1:35', '60:00')
    """
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def summary(run: Run, planned: int) -> str:
    """How far the run is, and what did not work."""
    done = len(run.progress.get("done", ()))
    counts = Counter(row.status for row in run.rows)
    found = ", ".join(f"{count} {status}" for status, count in counts.items())
    text = f"{done} of {planned} units measured, {len(run.rows)} rows{': ' if found else ''}{found}"
    if done < planned:
        text += "\nThe same command goes on with the rest."
    return text
