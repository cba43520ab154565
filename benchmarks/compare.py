"""Shows what became slower or faster between runs: before and after a change, on two machines, with two
versions.

python -m benchmarks.compare before.json after.json
python -m benchmarks.compare before.json after.json --against lax
python -m benchmarks.compare laptop.json server.json gpu.json          the first is what the others are
compared with

A row counts as changed if its median moved by more than the threshold and the quartiles of the two runs do
not overlap. Every ratio stands with its noise: the least and the largest that the quartiles allow. With
``--against`` the figures compared are ratios to that contender within each run, which removes the machine's
own drift, and most of what two machines differ in.

Exits with 1 if jaxnn (or the named contender) became slower anywhere, or if a row that was timed or right is
not so any more, unless ``--fail`` says what else shall count. Runs under other conditions (device, versions)
are compared
too: what differs is printed first.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import contenders, record, tables
from benchmarks.race import OURS
from benchmarks.record import Row, Run

#: What can end in status 1.
FAIL = {
    "slower": ("slower", "broken"),
    "broken": ("broken",),
    "missing": ("slower", "broken", "missing"),
    "never": (),
}
#: The conditions that are compared; versions one by one.
CONDITIONS = (
    "device",
    "platform",
    "backend",
    "threads",
    "vectors",
    "python",
    "system",
    "xla_flags",
    "matmul_precision",
)

Quartiles = tuple[float, float, float]


@dataclass(frozen=True)
class Change:
    """One row in both runs.

    Attributes:
      row: the row of the later run.
      ratio: the median after over that before: above 1, slower.
      low, high: the least and the largest ratio that the quartiles allow.
      verdict: slower, faster or same.
    """

    row: Row
    ratio: float
    low: float
    high: float
    verdict: str

    @property
    def text(self) -> str:
        return f"{self.ratio:.2f}× ({self.low:.2f} to {self.high:.2f})"


def changes(
    before: Run, after: Run, *, threshold: float = 0.1, contender: str = OURS, against: str | None = None
) -> Iterator[Change]:
    """The rows of a contender that were timed in both runs."""
    old, new = figures(before, contender, against), figures(after, contender, against)
    for key, (row, now) in new.items():
        if key not in old:
            continue
        was = old[key][1]
        ratio, low, high = now[1] / was[1], now[0] / was[2], now[2] / was[0]
        verdict = "same"
        if low > 1 and ratio > 1 + threshold:
            verdict = "slower"
        elif high < 1 and ratio < 1 / (1 + threshold):
            verdict = "faster"
        yield Change(row, ratio, low, high, verdict)


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
    """Rows that were timed or right before, and are wrong, failed, crashed or too slow now."""
    good = {row.key for row in before.rows if row.status in record.GOOD}
    return [
        row
        for row in after.rows
        if row.key in good and row.contender == contender and row.status in record.BAD
    ]


def missing(before: Run, after: Run, contender: str) -> list[Row]:
    """Rows that were timed or right before, and that the later run does not have."""
    there = {row.key for row in after.rows}
    return [
        row
        for row in before.rows
        if row.contender == contender and row.status in record.GOOD and row.key not in there
    ]


def differences(before: Run, after: Run) -> Iterator[str]:
    """What the conditions differ in, in words."""
    old, new = before.environment, after.environment
    for name in CONDITIONS:
        if old.get(name) != new.get(name):
            yield f"{name}: {old.get(name)} before, {new.get(name)} after"
    was, now = old.get("versions", {}), new.get("versions", {})
    for name in dict.fromkeys([*was, *now]):
        if was.get(name) != now.get(name):
            yield f"{name}: {was.get(name, 'none')} before, {now.get(name, 'none')} after"


def by_family(found: Sequence[Change]) -> str:
    """The geometric mean of the ratios of each program and family, and their range, as Markdown."""
    families: dict[tuple[str, str], list[Change]] = {}
    for change in found:
        family = change.row.family if change.row.program == "ops" else change.row.program
        families.setdefault((change.row.program, family), []).append(change)
    lines = []
    for (program, family), members in [*families.items(), (("all", "all"), list(found))]:
        ratios = [change.ratio for change in members]
        counts = (sum(change.verdict == verdict for change in members) for verdict in ("slower", "faster"))
        mean = f"{tables.geometric_mean(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        name = family if family == program else f"{program}, {family}"
        lines.append([name, str(len(members)), mean, *map(str, counts)])
    return tables.markdown(["family", "rows", "time after ÷ before", "slower", "faster"], lines)


def compared(before: Run, after: Run, given: argparse.Namespace) -> set[str]:
    """Prints one run beside another; returns what was found of slower, broken and missing."""
    for line in differences(before, after):
        print(f"beware: {line}")
    found = list(
        changes(before, after, threshold=given.threshold, contender=given.contender, against=given.against)
    )
    for verdict in ("slower", "faster"):
        chosen = sorted((c for c in found if c.verdict == verdict), key=lambda c: c.ratio)
        for change in chosen[:: -1 if verdict == "slower" else 1]:
            print(f"{verdict} {change.text}  {tables.title(change.row)}")
    lost, gone = broken(before, after, given.contender), missing(before, after, given.contender)
    for row in lost:
        print(f"{row.status}  {tables.title(row)}: {row.note}")
    if found:
        print(f"\n{by_family(found)}\n")
    counts = {v: sum(c.verdict == v for c in found) for v in ("slower", "faster", "same")}
    print(
        ", ".join(f"{count} {verdict}" for verdict, count in counts.items()), f"of {len(found)} rows in both"
        + (f"; {len(gone)} rows are missing" if gone else ""),
    )  # fmt: skip
    return {
        name for name, any_ in (("slower", counts["slower"]), ("broken", lost), ("missing", gone)) if any_
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path, nargs="+")
    parser.add_argument("--threshold", type=float, default=0.1, help="relative change (default: %(default)s)")
    parser.add_argument("--contender", default=OURS, choices=(*contenders.NAMES, "jaxnn repeat"))
    parser.add_argument("--against", choices=contenders.NAMES, help="compare ratios to this contender")
    parser.add_argument(
        "--fail", choices=FAIL, default="slower",
        help="what ends in status 1: slower or broken rows (slower), broken ones (broken), missing ones too "
        "(missing), nothing (never); by default %(default)s",
    )  # fmt: skip
    given = parser.parse_args(arguments)
    try:
        before, *others = map(record.load, (given.before, *given.after))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    found = set()
    for path, after in zip(given.after, others, strict=True):
        if before.program != after.program:
            parser.error(f"the runs must be of one program, got {before.program} and {after.program}")
        if len(others) > 1:
            print(f"\n== {given.before.name} → {path.name}")
        found |= compared(before, after, given)
    return int(bool(found & set(FAIL[given.fail])))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
