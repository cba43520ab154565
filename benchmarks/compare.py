"""Shows what became slower or faster between two runs of the same program.

python -m benchmarks.compare before.json after.json
python -m benchmarks.compare before.json after.json --against lax

A row counts as changed if its median moved by more than the threshold and the quartiles of the two runs do
not overlap. With ``--against`` the figures compared are ratios to that contender within each run, which
removes the machine's own drift. Exits with 1 if jaxnn (or the named contender) became slower anywhere.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import contenders, record, tables
from benchmarks.race import OURS
from benchmarks.record import Row, Run


@dataclass(frozen=True)
class Change:
    """One row in both runs.

    Attributes:
      row: the row of the later run.
      ratio: the median after over that before: above 1, slower.
      verdict: slower, faster or same.
    """

    row: Row
    ratio: float
    verdict: str


Quartiles = tuple[float, float, float]


def changes(
    before: Run, after: Run, *, threshold: float = 0.1, contender: str = OURS, against: str | None = None
) -> Iterator[Change]:
    """The rows of a contender that were timed in both runs."""
    old, new = figures(before, contender, against), figures(after, contender, against)
    for key, (row, now) in new.items():
        if key not in old:
            continue
        was = old[key][1]
        ratio = now[1] / was[1]
        apart = now[0] > was[2] or was[0] > now[2]
        verdict = "same"
        if apart and ratio > 1 + threshold:
            verdict = "slower"
        elif apart and ratio < 1 / (1 + threshold):
            verdict = "faster"
        yield Change(row, ratio, verdict)


def figures(run: Run, contender: str, against: str | None) -> dict[tuple[str, ...], tuple[Row, Quartiles]]:
    """By group: the row, and the quartiles of its time, or of its ratio to another contender's median."""
    medians = {row.group: row.median for row in run.rows if row.contender == against and row.median}
    found = {}
    for row in run.rows:
        if row.contender != contender or row.status != "timed" or row.median is None:
            continue
        if against and row.group not in medians:
            continue
        scale = medians[row.group] if against else 1.0
        assert scale is not None
        assert row.q1 is not None
        assert row.q3 is not None
        found[row.group] = row, (row.q1 / scale, row.median / scale, row.q3 / scale)
    return found


def broken(before: Run, after: Run, contender: str) -> list[Row]:
    """Rows that were timed before and are wrong or failed now."""
    timed = {row.key for row in before.rows if row.status == "timed"}
    return [
        row
        for row in after.rows
        if row.key in timed and row.contender == contender and row.status in ("wrong", "failed")
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--threshold", type=float, default=0.1, help="relative change (default: %(default)s)")
    parser.add_argument("--contender", default=OURS, choices=(*contenders.NAMES, "jaxnn repeat"))
    parser.add_argument("--against", choices=contenders.NAMES, help="compare ratios to this contender")
    given = parser.parse_args(arguments)
    before, after = record.load(given.before), record.load(given.after)
    if before.program != after.program:
        parser.error(f"the runs must be of one program, got {before.program} and {after.program}")
    for name in ("device", "threads"):
        if before.environment[name] != after.environment[name]:
            print(f"beware: {name} {before.environment[name]} before, {after.environment[name]} after")
    found = list(
        changes(before, after, threshold=given.threshold, contender=given.contender, against=given.against)
    )
    for verdict in ("slower", "faster"):
        chosen = sorted((c for c in found if c.verdict == verdict), key=lambda c: c.ratio)
        for change in chosen[:: -1 if verdict == "slower" else 1]:
            print(f"{verdict} {change.ratio:.2f}×  {tables.title(change.row)}")
    lost = broken(before, after, given.contender)
    for row in lost:
        print(f"{row.status}  {tables.title(row)}: {row.note}")
    counts = {v: sum(c.verdict == v for c in found) for v in ("slower", "faster", "same")}
    print(
        ", ".join(f"{count} {verdict}" for verdict, count in counts.items()), f"of {len(found)} rows in both"
    )
    return 1 if counts["slower"] or lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
