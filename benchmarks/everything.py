"""Measures a machine and a compiler: its limits, operations, training steps and overhead, within a budget.

python -m benchmarks all --out results/mine                    five minutes; needs jax, numpy and optax alone
python -m benchmarks all --out results/mine                    the same again: goes on where it stopped
python -m benchmarks all --out results/mine --minutes 60 --platform cuda --contenders jaxnn lax --energy
python -m benchmarks all --out results/mine --isolate          each contender in a process of its own

The broadest view comes first (``plan.py``), so that any budget gives a whole picture. What is measured is
saved after each unit, in one move: an interruption (Ctrl-C, a lost machine) costs the unit that was running.
The next call with the same options, device and versions goes on in the same file; ``--fresh`` begins a new
one. A unit in which the process died twice is left out as crashed.

With ``--isolate`` a contender that crashes or hangs ends nothing but its own process. Contenders are then
timed one after the other instead of in turns, so ratios feel a drifting machine more, and their ranges are
wider.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import cases, contenders, energy, environment, journal, limits, options, plan, record, tables
from benchmarks.journal import Journal, Measure, blank
from benchmarks.plan import Effort, Unit
from benchmarks.race import OURS
from benchmarks.record import Row, Run
from benchmarks.worker import Crashed, Failed, TooSlow, Worker, not_started

OUT = Path("out") / "benchmarks"
#: Platforms on which a device serves one process at a time.
EXCLUSIVE = ("tpu",)

Limits = Mapping[str, Mapping[str, float]]


def isolated(workers: Mapping[str, Worker], *, timeout: float, exclusive: bool, **settings: Any) -> Measure:
    """A unit's rows with each contender measured by its own worker, one after the other."""

    def measure(unit: Unit) -> list[Row]:
        rows: list[Row] = []
        for name, worker in workers.items():
            try:
                answer = worker.ask(
                    "everything:rows_of", timeout=timeout, unit=unit.name, contender=name, **settings
                )
                rows += [Row(**row) for row in answer]
            except (Crashed, TooSlow, Failed) as reason:
                status = {Crashed: "crashed", TooSlow: "too slow", Failed: "failed"}[type(reason)]
                rows.append(blank(unit, name, status, str(reason)))
            if exclusive:
                worker.close()
        return with_ratios(rows)

    return measure


def with_ratios(rows: Sequence[Row]) -> list[Row]:
    """Rows that were timed apart, with their times over jaxnn's.

    The range is the widest that the quartiles allow: the lower over jaxnn's upper, the upper over its lower.
    """
    ours = {row.group: row for row in rows if row.contender == OURS and row.status == "timed"}
    result = []
    for row in rows:
        base = ours.get(row.group)
        if base and row.median and row.q1 and row.q3 and base.median and base.q1 and base.q3:
            row = replace(
                row, ratio=row.median / base.median, ratio_q1=row.q1 / base.q3, ratio_q3=row.q3 / base.q1
            )
        result.append(row)
    return result


def rows_of(
    *, unit: str, contender: str, platform: str, shapes: str, only: Sequence[str],
    rounds: int, seconds: float, joules: bool, limit: Limits,
) -> list[dict[str, Any]]:  # fmt: skip
    """What a worker answers: the rows of one contender in one unit."""
    (found,) = (u for u in plan.units(platform, shapes=shapes, only=only) if u.name == unit)
    effort = Effort(rounds, seconds, energy.meter() if joules else None)
    return [record.as_dict(row) for row in found.measure(contenders.find([contender]), effort, limit)]


def conditions(*, names: Sequence[str] | None, joules: bool) -> tuple[dict[str, Any], list[str], str | None]:
    """The conditions, the contenders that are installed, and why no energy can be measured."""
    reason = None
    if joules:
        try:
            energy.meter()
        except energy.NoMeter as error:
            reason = str(error)
    return environment.describe(), [made.name for made in contenders.find(names)], reason


def line(unit: Unit, rows: Sequence[Row]) -> str:
    """What was found, in one line.

    >>> unit = Unit(("ops", "pool", "max 2×2", "both", "top", "float32"), measure=None)
    >>> print(line(unit, [blank(unit, "lax", "crashed", "died of SIGSEGV")]))
    pool · max 2×2 · forward+backward · float32: lax crashed (died of SIGSEGV)
    """
    found = []
    for row in rows:
        if row.status == "unsupported":
            continue
        if row.median is None:
            found.append(f"{row.contender} {row.status} ({row.note})")
            continue
        extra = [f"×{row.ratio:.2f}"] if row.ratio is not None and row.contender != OURS else []
        extra += [f"{row.limit:.0%} of limit"] if row.limit else []
        found.append(
            f"{row.contender} {tables.seconds(row.median)}" + (f" ({', '.join(extra)})" if extra else "")
        )
    return f"{tables.title(blank(unit, '', '', ''))}: {', '.join(found) or 'nobody takes part'}"


def parser() -> argparse.ArgumentParser:
    """The flags."""
    made = options.parser(__doc__, repeats=9, seconds=0.3, out=OUT)
    made.prog = "python -m benchmarks all"
    made.add_argument(
        "--minutes", type=options.duration, default=5.0,
        help="the budget; inf for all there is (default: %(default)s)",
    )  # fmt: skip
    made.add_argument(
        "--platform", help="a PJRT platform: cpu, cuda, rocm, tpu, METAL, … (default: JAX's choice)"
    )
    made.add_argument("--shapes", choices=("all", *cases.SIZES), default="all")
    made.add_argument("--isolate", action="store_true", help="each contender in a process of its own")
    made.add_argument(
        "--timeout", type=options.duration, default=120.0,
        help="with --isolate: seconds for a contender in a unit, compilation included (default: %(default)s)",
    )  # fmt: skip
    made.add_argument("--energy", action="store_true", help="joules per call, where NVML has a counter")
    made.add_argument("--fresh", action="store_true", help="begin anew beside an unfinished run")
    return made


def main(arguments: Sequence[str] | None = None) -> Run:
    """The program; returns what it wrote."""
    given = parser().parse_args(arguments)
    before = time.monotonic()
    with _Workers(given.platform, given.isolate) as workers:
        return _main(given, workers, before)


class _Workers:
    """Where JAX runs: in this process; or, isolated, in one per contender."""

    def __init__(self, platform: str | None, isolate: bool) -> None:
        self.platform, self.isolate, self.named = platform, isolate, dict[str, Worker]()
        if not isolate:
            environment.select(platform)

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.named.values():
            worker.close()

    def once(self, call: str, function: Callable[..., Any], **arguments: Any) -> Any:
        """What a function returns, here or in a process that ends afterwards."""
        if not self.isolate:
            return function(**arguments)
        with Worker(self.platform) as worker:
            return worker.ask(call, timeout=600, **arguments)

    def start(self, names: Sequence[str]) -> dict[str, Worker]:
        self.named = {name: Worker(self.platform) for name in names}
        return self.named


def _main(given: argparse.Namespace, workers: _Workers, before: float) -> Run:
    try:
        found, names, no_energy = workers.once(
            "everything:conditions", conditions, names=given.contenders, joules=given.energy
        )
    except (Failed, Crashed) as error:
        raise SystemExit(not_started(error)) from error
    found |= {"command": environment.command(), "options": environment.stated(vars(given))}
    announce(found, no_energy)
    units = plan.units(found["platform"], shapes=given.shapes, only=given.only)
    if not units:
        raise SystemExit(f"--only: no case and no net of these shapes has one of {given.only}")
    into = _begun(given, workers, found, len(units))
    print("\n".join(limits.text(into.run.limits)), flush=True)
    joules = given.energy and not no_energy
    measure = _measure(given, workers, names, found["platform"], into.run.limits, joules)
    budget = 60 * given.minutes - (time.monotonic() - before)
    journal.carried_out(units, into, measure, line, seconds=budget, entrants=names)
    return into.run


def announce(found: Mapping[str, Any], no_energy: str | None) -> None:
    """Prints the conditions and the devices; and why there will be no joules, if they were asked for."""
    print(environment.heading(dict(found)))
    for device in found["devices"]:
        memory = f", {device['memory'] / 2**30:.1f} GiB" if device["memory"] else ""
        print(f"device {device['id']}: {device['kind']}{memory}")
    if no_energy:
        print(f"energy: {no_energy}; no joules are recorded")


def _begun(given: argparse.Namespace, workers: _Workers, found: dict[str, Any], planned: int) -> Journal:
    """The unfinished run of these conditions, or a new one with its limits measured."""
    into = journal.opened("all", given.out, found, fresh=given.fresh)
    if into is not None:
        print(f"going on with {into.run.stem}: {len(into.done)} of {planned} units are measured")
        return into
    rates = workers.once("limits:everything", limits.everything, shapes=given.shapes)
    into = Journal(Run("all", found, rates, progress={"planned": planned, "done": []}), given.out)
    into.save()
    return into


def _measure(
    given: argparse.Namespace,
    workers: _Workers,
    names: Sequence[str],
    platform: str,
    limit: Limits,
    joules: bool,
) -> Measure:
    """How a unit is measured: here, or by a process per contender."""
    if given.isolate:
        settings = {
            "platform": platform, "shapes": given.shapes, "only": given.only, "limit": limit,
            "rounds": given.repeats, "seconds": given.seconds, "joules": joules,
        }  # fmt: skip
        started = workers.start(names)
        return isolated(started, timeout=given.timeout, exclusive=platform in EXCLUSIVE, **settings)
    entrants = contenders.find(names)
    effort = Effort(given.repeats, given.seconds, energy.meter() if joules else None)
    return lambda unit: unit.measure(entrants, effort, limit)


if __name__ == "__main__":
    main(sys.argv[1:])
