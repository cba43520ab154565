"""Rows as text: aligned for a terminal, or as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import Row, Run

HEAD = ("contender", "median", "quartiles", "× jaxnn", "rate", "bandwidth", "of limit", "error", "n")
UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))
WORDS = {
    "both": "forward+backward",
    "step": "a training step",
    "id": "one id",
    "top": "",
    "scan": "in a scan, a step",
    "run": "a whole run",
    "epoch": "an epoch as one scan",
    "loop": "of many in one call",
}


def title(row: Row) -> str:
    """What the rows of a group have in common, in words."""
    parts = (row.family, row.case, WORDS.get(row.mode, row.mode), WORDS.get(row.place, row.place), row.dtype)
    return " · ".join(part for part in parts if part)


def terminal(rows: Iterable[Row]) -> str:
    """Each group under its title."""
    blocks = []
    for _, group in groupby(rows, key=lambda row: row.group):
        members = list(group)
        shown = aligned([HEAD, *(cells(row) for row in members if row.status != "unsupported")])
        absent = [f"{row.contender} ({row.note})" for row in members if row.status == "unsupported"]
        shown += [f"not: {', '.join(absent)}"] if absent else []
        blocks.append("\n".join([title(members[0]), *(f"  {line}" for line in shown)]))
    return "\n\n".join(blocks)


def cells(row: Row) -> tuple[str, ...]:
    """A row under ``HEAD``; one that was not timed says why."""
    if row.status != "timed" or row.median is None:
        return (row.contender, row.status, row.note, *("",) * (len(HEAD) - 3))
    spread = f"{seconds(row.q1)} to {seconds(row.q3)}"
    rate = f"{row.flops / row.median / 1e9:.1f} GFLOP/s" if row.flops else ""
    if row.examples:
        rate = f"{row.examples / row.median:,.0f} examples/s"
    return (
        row.contender,
        seconds(row.median),
        spread,
        "" if row.ratio is None else f"{row.ratio:.2f}",
        rate,
        f"{row.bytes / row.median / 1e9:.1f} GB/s" if row.bytes else "",
        "" if row.limit is None else f"{row.limit:.0%}",
        "" if row.error is None else f"{row.error:.0e}",
        str(row.n),
    )


def seconds(value: float | None) -> str:
    """Three digits and a unit.

    >>> seconds(0.00123456)
    '1.23 ms'
    """
    if value is None:
        return ""
    unit, scale = next((u for u in UNITS if value >= u[1]), UNITS[-1])
    digits = value / scale
    return f"{digits:.{2 if digits < 10 else 1 if digits < 100 else 0}f} {unit}"


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Columns of one width; a note may run over those to its right."""
    widths = [
        max(len(row[i]) for row in table if any(row[3:]) or i < 2) for i in range(len(table[0]))
    ]  # fmt: skip
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]


def markdown(head: Sequence[str], table: Iterable[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right."""
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(['---', *['---:'] * (len(head) - 1)])}|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in table)])


def shown_and_saved(
    program: str,
    conditions: Mapping[str, Any],
    limit: Mapping[str, Any],
    groups: Iterable[list[Row]],
    out: Path,
) -> Run:
    """Prints and saves each group of rows as soon as it is measured; returns the whole run.

    The file holds all groups so far, so that an interruption costs the one being measured.
    """
    run = Run(program, conditions, limit)
    for group in groups:
        print(f"\n{terminal(group)}", flush=True)
        run = replace(run, rows=(*run.rows, *group))
        run.save(out)
    print(f"\nwritten: {run.save(out)}")
    return run


def geometric_mean(values: Iterable[float]) -> float:
    """exp of the mean logarithm."""
    return float(np.exp(np.mean(np.log(list(values)))))
