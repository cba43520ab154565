"""From contenders and an answer to rows: compare, then time those that are right, in turn."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks import agreement, limits, timing
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
    """One row per contender.

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
    rows: dict[str, Row] = {}
    programs: dict[str, Program] = {}
    for contender in contenders:
        row = replace(template, contender=contender.name)
        row, program = _compared(row, contender, make, answer, probe)
        rows[row.contender] = row
        if program:
            programs[row.contender] = program
    samples = timing.alternate(
        {name: program.call for name, program in programs.items()}, rounds=rounds, seconds=seconds
    )
    for name, sample in samples.items():
        row = _timed(rows[name], sample, samples.get(OURS), calls, limit)
        ahead = name != OURS and row.ratio is not None and row.ratio < LEVEL
        if ahead and same(programs[name], programs[OURS]):
            row = replace(row, note=SAME)
        if meter:
            row = replace(row, joules=meter.per_call(programs[name].call) / calls)
        rows[name] = row
    return list(rows.values())


def same(a: Program, b: Program) -> bool:
    """Whether the compiler made the same of both, so that any difference in time is noise."""
    return a.code is not None and b.code is not None and a.code() == b.code()


def _compared(
    row: Row, contender: Contender, make: Callable[[Contender], Program], answer: Answer, probe: Probe
) -> tuple[Row, Program | None]:
    allowed = row.tolerance
    assert allowed is not None
    try:
        program = make(contender)
        error = agreement.check(probe(program), answer, allowed)
    except Unsupported as reason:
        return replace(row, status="unsupported", note=str(reason)), None
    except agreement.Wrong as reason:
        return replace(row, status="wrong", note=str(reason)), None
    except Exception as reason:  # a peer that breaks must not end the run
        return replace(row, status="failed", note=_first_line(reason)), None
    return replace(row, error=error), program


def _first_line(reason: Exception) -> str:
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
