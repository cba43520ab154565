"""A run as one HTML page that needs nothing else: no network, no library, no other file.

It holds the conditions, the measured limits, a roofline, charts of ratios, what is behind and why, what was
not timed, and every row in a table that sorts and filters.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks import limits, record, svg, tables, why
from benchmarks.html_tables import Cell, Number, Status, filtered, number, table
from benchmarks.race import OURS
from benchmarks.record import Row, Run

HERE = Path(__file__).parent
PASSES = ("value", "input gradient", "weight gradient", "second derivative", "vmap", "scan")


def beside(run: Run, path: Path) -> list[Path]:
    """Writes the rows as CSV and the page beside a run's JSON; returns their paths."""
    written = [path.with_suffix(".csv"), path.with_suffix(".html")]
    record.write(written[0], record.as_csv(run))
    record.write(written[1], html([run]))
    return written


def html(runs: Sequence[Run]) -> str:
    """The page of one or several runs."""
    assert runs
    names = [f"{run.environment['device']}, {run.environment['date'][:10]}" for run in runs]
    title = f"jaxnn benchmarks: {'; '.join(names)}"
    links = "".join(f'<a href="#run-{i}">{escape(name)}</a>' for i, name in enumerate(names))
    body = "".join(section(run, i) for i, run in enumerate(runs))
    style, script = ((HERE / f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>\n{style}</style></head>\n<body><h1>{escape(title)}</h1>"
        f"{f'<nav>{links}</nav>' if len(runs) > 1 else ''}\n{body}<script>\n{script}</script></body></html>\n"
    )


def section(run: Run, at: int = 0) -> str:
    """All of one run."""
    timed = [row for row in run.rows if row.status == "timed"]
    parts = [
        f'<section id="run-{at}"><h2>Conditions</h2>{conditions(run)}',
        limits_table(run.limits, at),
        *rooflines(timed, run.limits),
        *charts(timed),
        behind(run, at),
        conformance(run.rows, at),
        untimed(run.rows, at),
        every_row(run.rows, at),
        "</section>",
    ]
    return "\n".join(part for part in parts if part)


def conditions(run: Run) -> str:
    """The environment as a list of terms, and how far the run is."""
    found = {name: value for name, value in run.environment.items() if value not in (None, "", [], {})}
    if (planned := run.progress.get("planned")) is not None:
        found["measured"] = f"{len(run.progress.get('done', ()))} of {planned} units"
    return f"<dl>{''.join(f'<dt>{escape(n)}</dt><dd>{shown(v)}</dd>' for n, v in found.items())}</dl>"


def shown(value: Any) -> str:
    """A condition as HTML.

    >>> shown({"jax": "1", "numpy": "2", "memory": None})
    'jax 1, numpy 2'
    """
    if isinstance(value, Mapping):
        return escape(", ".join(f"{name} {entry}" for name, entry in value.items() if entry is not None))
    if isinstance(value, list):
        return "<br>".join(map(shown, value))
    return f"<code>{escape(str(value))}</code>" if "python -m" in str(value) else escape(str(value))


def limits_table(found: Mapping[str, Mapping[str, float]], at: int) -> str:
    """The measured rates."""
    if not found:
        return ""
    rows: list[list[Cell]] = [
        [
            name,
            number(rates["flops"] / 1e9, ",.0f"),
            number(rates["bytes"] / 1e9, ",.1f"),
            number(rates["flops"] / rates["bytes"], ".1f"),
        ]
        for name, rates in found.items()
        if name != "dispatch"
    ]
    head = ["dtype", "matrix product, GFLOP/s", "copy, GB/s", "operations per byte at the ridge"]
    dispatch = limits.text({name: rates for name, rates in found.items() if name == "dispatch"})
    text = "".join(f"<p>{escape(line)}.</p>" for line in dispatch)
    return f"<h2>Measured limits</h2>{table(f'limits-{at}', head, rows)}{text}"


def rooflines(timed: Sequence[Row], found: Mapping[str, Mapping[str, float]]) -> Iterable[str]:
    """A roofline per dtype: the rows whose operations and bytes are known, under the measured limits."""
    for dtype in dict.fromkeys(row.dtype for row in timed):
        chosen = [row for row in timed if row.dtype == dtype and row.flops and row.bytes and row.median]
        if not chosen or dtype not in found:
            continue
        points = [
            svg.Point(
                (row.flops or 0) / (row.bytes or 1), (row.flops or 0) / (row.median or 1), row.contender,
                f"{tables.title(row)}: {row.contender} {tables.seconds(row.median)}"
                + (f", {row.limit:.0%} of limit" if row.limit else ""),
            )
            for row in chosen
        ]  # fmt: skip
        roofs = {name: rates for name, rates in found.items() if name.partition(",")[0] == dtype}
        yield (
            f"<h2>Roofline, {escape(dtype)}</h2>"
            "<p>Operations and bytes are what a case cannot avoid, by formula; "
            "the limits are those measured above. A case that fits the cache can pass the slope.</p>"
            f"{svg.roofline(points, roofs)}"
        )


def charts(timed: Sequence[Row]) -> Iterable[str]:
    """For each program, mode, place and dtype the others' times over jaxnn's: operations by family, nets by
    case.
    """
    label = "time ÷ jaxnn's time (shaded: jaxnn is behind)"
    compared = [row for row in timed if row.contender != OURS and row.ratio]
    headed = False
    for kind in dict.fromkeys((row.program, row.mode, row.place, row.dtype) for row in compared):
        program, mode, place, dtype = kind
        chosen = [row for row in compared if (row.program, row.mode, row.place, row.dtype) == kind]
        words = (program, tables.WORDS.get(mode, mode), tables.WORDS.get(place, place), dtype)
        title = " · ".join(word for word in words if word)
        lines = by_family(chosen) if program == "ops" else by_case(chosen)
        yield f"{'' if headed else '<h2>Beside jaxnn</h2>'}<h3>{escape(title)}</h3>{svg.ratios(lines, label)}"
        headed = True


def by_family(rows: Sequence[Row]) -> list[svg.Line]:
    """By family the geometric mean of each contender's ratios, and their range."""
    lines = []
    for family in dict.fromkeys(row.family for row in rows):
        of: dict[str, list[float]] = {}
        for row in rows:
            if row.family == family and row.ratio:
                of.setdefault(row.contender, []).append(row.ratio)
        values = {name: (tables.geometric_mean(found), min(found), max(found)) for name, found in of.items()}
        lines.append(svg.Line(f"{family} ({max(map(len, of.values()))})", values))
    return lines


def by_case(rows: Sequence[Row]) -> list[svg.Line]:
    """By case each contender's ratio and its quartiles."""
    lines = []
    for _, members in groupby(rows, key=lambda row: row.group):
        group = list(members)
        values = {
            row.contender: (row.ratio, row.ratio_q1 or row.ratio, row.ratio_q3 or row.ratio)
            for row in group
            if row.ratio
        }
        first = group[0]
        lines.append(
            svg.Line(first.case if first.family in first.case else f"{first.family}, {first.case}", values)
        )
    return lines


def behind(run: Run, at: int) -> str:
    """Where another is ahead by a twentieth or more, and the likely reason."""
    compared = [row for row in run.rows if why.compared(row)]
    if not compared:
        return ""
    found = list(why.behind(run.rows, run.limits))
    text = f"<h2>Behind, and why</h2><p>Another is ahead in {len(found)} of {len(compared)} comparisons.</p>"
    if not found:
        return text
    rows: list[list[Cell]] = [
        [
            row.contender,
            tables.title(row),
            number(row.ratio, ".2f"),
            spread(row.ratio_q1, row.ratio_q3, "{:.2f}".format),
            Number(tables.seconds(row.median), row.median),
            reason,
        ]
        for row, reason in found
    ]
    head = ["who is ahead", "where", "its time ÷ jaxnn's", "quartiles", "its time", "why"]
    return text + filtered(f"behind-{at}", head, rows, ["who is ahead"])


def conformance(rows: Sequence[Row], at: int) -> str:
    """A line per operation, dtype and form; a column per pass."""
    chosen = [row for row in rows if row.program == "conformance"]
    if not chosen:
        return ""
    names = [name for name in PASSES if any(row.mode == name for row in chosen)]
    lines: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in chosen:
        lines.setdefault((row.case, row.dtype, row.contender), {})[row.mode] = row
    cells: list[list[Cell]] = [
        [*key, *(Status(verdict(of[name]), of[name].status) if name in of else "" for name in names)]
        for key, of in lines.items()
    ]
    head = ["operation", "dtype", "form", *names]
    text = "<p>What is right shows its largest error, in last places of the dtype at the largest value.</p>"
    return f"<h2>Conformance</h2>{text}{filtered(f'conformance-{at}', head, cells, ['dtype', 'form'])}"


def verdict(row: Row) -> str:
    """A row of conformance in a word: its last places if right.

    >>> verdict(Row("conformance", "dense", "dense", "lax", "value", status="too slow"))
    'too slow'
    """
    if row.status == "right":
        return f"{row.error:.2g}" if row.error else "0"
    if row.status == "wrong":
        return f"WRONG {row.error:.1e}" if row.error is not None else "WRONG"
    return {"failed": "error", "crashed": "crash", "unsupported": "–"}.get(row.status, row.status)


def untimed(rows: Sequence[Row], at: int) -> str:
    """What was neither timed nor right, and why."""
    chosen = [row for row in rows if row.status in record.BAD]
    if not chosen:
        return ""
    lines: list[list[Cell]] = [
        [row.contender, tables.title(row), Status(row.status, row.status), note(row)] for row in chosen
    ]
    head = ["contender", "where", "status", "why"]
    shown = filtered(f"bad-{at}", head, lines, ["contender", "status"])
    return f"<h2>Not right, or not finished</h2>{shown}"


def note(row: Row) -> str:
    """Why a row is not right."""
    if not row.note and row.error is not None and row.tolerance is not None:
        return f"error {row.error:.3g}, {row.tolerance:.3g} is allowed"
    return row.note


def every_row(rows: Sequence[Row], at: int) -> str:
    """All rows but those of conformance, which has its own table; empty columns are left out."""
    chosen = [row for row in rows if row.program != "conformance"]
    if not chosen:
        return ""
    columns = [(name, [of(row) for row in chosen]) for name, of in COLUMNS.items()]
    columns = [(name, cells) for name, cells in columns if any(cell[0] for cell in cells if cell)]
    head = [name for name, _ in columns]
    choose = [name for name in CHOSEN if name in head]
    lines = list(zip(*(cells for _, cells in columns), strict=True))
    return f"<h2>Every row</h2>{filtered(f'rows-{at}', head, lines, choose)}"


def spread(low: float | None, high: float | None, words: Callable[[float], str]) -> Number:
    """A range in words; it sorts by its lower end."""
    return Number("" if low is None or high is None else f"{words(low)} to {words(high)}", low)


def per_second(value: int | None, row: Row, unit: float = 1.0) -> float | None:
    """A count per second of the row's median."""
    return value / row.median / unit if value and row.median else None


#: What a row shows in the table of all rows.
COLUMNS: dict[str, Callable[[Row], Cell]] = {
    "program": lambda row: row.program,
    "family": lambda row: row.family,
    "case": lambda row: row.case,
    "mode": lambda row: row.mode,
    "place": lambda row: row.place,
    "dtype": lambda row: row.dtype,
    "contender": lambda row: row.contender,
    "status": lambda row: Status(row.status, row.status),
    "median": lambda row: Number(tables.seconds(row.median), row.median),
    "quartiles": lambda row: spread(row.q1, row.q3, tables.seconds),
    "× jaxnn": lambda row: number(row.ratio, ".2f"),
    "GFLOP/s": lambda row: number(per_second(row.flops, row, 1e9), ",.1f"),
    "GB/s": lambda row: number(per_second(row.bytes, row, 1e9), ",.1f"),
    "examples/s": lambda row: number(per_second(row.examples, row), ",.0f"),
    "of limit": lambda row: number(row.limit, ".0%"),
    "mJ per call": lambda row: number(None if row.joules is None else 1e3 * row.joules, ",.2f"),
    "error": lambda row: number(row.error, ".0e"),
    "n": lambda row: number(row.n or None, "d"),
    "note": lambda row: row.note,
}
#: Those with a list to choose a value from.
CHOSEN = ("program", "mode", "place", "dtype", "contender", "status")
