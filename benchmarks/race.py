"""From contenders and an answer to rows: compare, then time those that are right, in turn."""

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from benchmarks import abreast, agreement, limits, timing
from benchmarks.agreement import Answer
from benchmarks.contenders import Contender, Program, Unsupported
from benchmarks.energy import Meter
from benchmarks.record import Row

#: The contender by whose time the others' is divided.
OURS = "jaxnn"
LEVEL = 0.95  #: below this ratio jaxnn is behind; above it, on par within the noise of a quiet machine
SAME = "the same compiled program: noise"

Probe = Callable[[Program], list[np.ndarray]]


def first_result(program: Program) -> list[np.ndarray]:
    """The result of the first call."""
    return program.read(program.call())


@dataclass(frozen=True)
class Heat:
    """One race to be run: its rows are a group.

    Attributes:
      template: what all rows have in common.
      make: a contender's program; may raise ``Unsupported``.
      answer: what the probe must return; asked for by every contender.
      probe: what of a fresh program is compared with the answer.
      calls: how often the case's work is done in one call of the program.
      limit: the rates to compare with.
    """

    template: Row
    make: Callable[[Contender], Program]
    answer: Callable[[], Answer]
    probe: Probe = first_result
    calls: int = 1
    limit: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Entry:
    """A contender that was compared: its row so far, and its program unless that is not to be timed."""

    row: Row
    program: Program | None = None


def race(
    template: Row,
    contenders: Iterable[Contender],
    make: Callable[[Contender], Program],
    answer: Answer,
    *,
    probe: Probe = first_result,
    calls: int = 1,
    rounds: int,
    seconds: float,
    limit: Mapping[str, float] | None = None,
    meter: Meter | None = None,
) -> list[Row]:
    """One row per contender; all are prepared in turn, each with the machine to itself.

    Args:
      template: what all rows have in common.
      contenders: who takes part.
      make: a contender's program; may raise ``Unsupported``.
      answer: what the probe must return.
      probe: what of a fresh program is compared with the answer.
      calls: how often the case's work is done in one call of the program.
      rounds: of ``timing.alternate``.
      seconds: of ``timing.alternate``.
      limit: the rates to compare with.
      meter: of energy, if that is wanted too.
    """
    heat = Heat(template, make, lambda: answer, probe, calls, limit)
    entries = [_compared(heat, contender) for contender in contenders]
    return _finished(heat, entries, rounds, seconds, meter)


def races(
    heats: Iterable[Heat],
    contenders: Sequence[Contender],
    *,
    rounds: int,
    seconds: float,
    meter: Meter | None = None,
) -> Iterator[list[Row]]:
    """The rows of one heat after the other, as of ``race``.

    On an accelerator the programs of several heats are compiled and compared at the same time; nothing is
    timed before all of them are done.
    """
    rest = iter(heats)
    while some := list(islice(rest, abreast.units())):
        entered = enter(some, contenders)
        while some:  # what was timed gives its memory back
            yield _finished(some.pop(0), entered.pop(0), rounds, seconds, meter)
        if abreast.units() > 1:
            gc.collect()  # programs are parts of cycles


def enter(heats: Sequence[Heat], contenders: Sequence[Contender]) -> list[list[Entry]]:
    """All that comes before the clock, by heat and contender."""
    jobs = [partial(_compared, heat, contender) for heat in heats for contender in contenders]
    entries = iter(abreast.results(jobs, before=[heat.answer for heat in heats]))
    return [list(islice(entries, len(contenders))) for _ in heats]


def _compared(heat: Heat, contender: Contender) -> Entry:
    row = replace(heat.template, contender=contender.name)
    allowed = row.tolerance
    assert allowed is not None
    try:
        program = heat.make(contender)
        error = agreement.check(heat.probe(program), heat.answer(), allowed)
    except Unsupported as reason:
        return Entry(replace(row, status="unsupported", note=str(reason)))
    except agreement.Wrong as reason:
        return Entry(replace(row, status="wrong", note=str(reason)))
    except Exception as reason:  # a peer that breaks must not end the run
        return Entry(replace(row, status="failed", note=first_line(reason)))
    return Entry(replace(row, error=error), program)


def _finished(
    heat: Heat, entries: Sequence[Entry], rounds: int, seconds: float, meter: Meter | None
) -> list[Row]:
    """The rows of a heat, those that are right with their times."""
    rows = {entry.row.contender: entry.row for entry in entries}
    programs = {entry.row.contender: entry.program for entry in entries if entry.program}
    calls = {name: program.call for name, program in programs.items()}
    try:
        samples = timing.alternate(calls, rounds=rounds, seconds=seconds)
    except Exception as reason:  # there may be no memory left
        note = f"while timed: {first_line(reason)}"
        failed = {name: replace(rows[name], status="failed", note=note) for name in calls}
        return list((rows | failed).values())
    for name, sample in samples.items():
        rows[name] = _timed(rows[name], sample, samples.get(OURS), heat.calls, heat.limit)
        if meter:
            joules = per_call(meter, calls[name], sample)
            rows[name] = replace(rows[name], joules=joules / heat.calls)
    ahead = [
        name for name, row in rows.items() if name != OURS and row.ratio is not None and row.ratio < LEVEL
    ]
    if ahead:
        ours, *others = abreast.results([partial(_code, programs[name]) for name in (OURS, *ahead)])
        for name, code in zip(ahead, others, strict=True):
            if code is not None and code == ours:  # so that any difference in time is noise
                rows[name] = replace(rows[name], note=SAME)
    return list(rows.values())


def per_call(meter: Meter, call: Callable[[], object], sample: timing.Sample) -> float:
    """Joules of a call, made as it is timed."""
    times = timing.repeats(sample.quartiles()[1])
    return meter.per_call(lambda: timing.repeat(call, times)) / times


def _code(program: Program) -> str | None:
    """The compiled program as text; None where there is none to be had."""
    try:
        return program.code() if program.code else None
    except Exception:  # it is compiled anew, which may take more memory than there is
        return None


def first_line(reason: Exception) -> str:
    """What an exception is and says, in short."""
    lines = str(reason).strip().splitlines() or [""]
    return f"{type(reason).__name__}: {lines[0]}"[:200]


def _timed(
    row: Row,
    sample: timing.Sample,
    ours: timing.Sample | None,
    calls: int,
    limit: Mapping[str, float] | None,
) -> Row:
    q1, median, q3 = (value / calls for value in sample.quartiles())
    found: dict[str, Any] = {"n": sample.n, "q1": q1, "median": median, "q3": q3}
    if ours:
        low, middle, high = timing.ratio(sample, ours)
        found |= {"ratio_q1": low, "ratio": middle, "ratio_q3": high}
    if limit and (row.flops or row.bytes):
        found["limit"] = limits.share(median, row.flops or 0, row.bytes or 0, limit)
    return replace(row, **found)
