"""Makes tables and charts from the saved runs; nothing in them is written by hand.

python -m benchmarks.report                            prints Markdown for the latest run of each program
python -m benchmarks.report --charts                   draws the charts beside the JSON files too
python -m benchmarks.report --charts --insert docs/speed.md
python -m benchmarks.report --brief ops.json           training and gradients at top level only; by family
python -m benchmarks.report fit-….json --insert docs/training.md
python -m benchmarks.report --brief ops.json --only conv pool   some families or cases only
python -m benchmarks.report --full A.json B.json       every row of these runs
python -m benchmarks.report --html page.html A.json    one page that needs nothing else

``--insert`` replaces what stands between ``<!-- benchmarks:start -->`` and ``<!-- benchmarks:end -->``.
"""

import argparse
import os
import sys
from ast import literal_eval
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from benchmarks import conformance, contenders, environment, fit, forms, page, record, speedrun, tables
from benchmarks.race import LEVEL, OURS
from benchmarks.record import Row, Run

START, END = "<!-- benchmarks:start -->", "<!-- benchmarks:end -->"


def others(rows: Sequence[Row]) -> list[str]:
    """The contenders but jaxnn that were timed, in the usual order."""
    found = {row.contender for row in rows if row.ratio is not None} - {OURS}
    return sorted(found, key=lambda name: ((*contenders.NAMES, name).index(name), name))


def ratio_cell(ratios: Sequence[float]) -> str:
    """The geometric mean, its range if there are several."""
    if not ratios:
        return "–"
    mean = f"{tables.geometric_mean(ratios):.2f}"
    return mean if len(ratios) == 1 else f"{mean} ({min(ratios):.2f} to {max(ratios):.2f})"


def ops_tables(run: Run) -> str:
    """By family, mode and place: the others' time over jaxnn's."""
    blocks = []
    rows = [row for row in run.rows if row.status == "timed"]
    names = others(rows)
    for dtype in dict.fromkeys(row.dtype for row in rows):
        lines = []
        sections = dict.fromkeys((row.family, row.mode, row.place) for row in rows if row.dtype == dtype)
        for family, mode, place in sections:
            chosen = [
                row
                for row in rows
                if (row.family, row.mode, row.place, row.dtype) == (family, mode, place, dtype)
            ]
            cases = sum(row.contender == OURS for row in chosen)
            where = " · ".join(word for word in (tables.WORDS.get(mode, mode), _place(place)) if word)
            ratios = [ratio_cell(_ratios(chosen, name)) for name in names]
            limit = [row.limit for row in chosen if row.contender == OURS and row.limit is not None]
            lines.append([f"{family}, {where}", str(cases), *ratios, f"{max(limit):.0%}" if limit else "–"])
        every = [row for row in rows if row.dtype == dtype]
        total = sum(row.contender == OURS for row in every)
        lines.append(["all", str(total), *(ratio_cell(_ratios(every, name)) for name in names), ""])
        head = ["family", "cases", *(f"{name} ÷ jaxnn" for name in names), "jaxnn of limit, at best"]
        blocks.append(tables.markdown(head, lines))
    return "\n\n".join(blocks)


def behind(run: Run, *, brief: bool = False) -> str:
    """Every row in which another is ahead by more than a twentieth, as a table; "" if there is none.

    With ``brief``, a sentence: how often each contender is ahead.
    """
    compared = [row for row in run.rows if row.ratio is not None and row.contender != OURS]
    ahead = [row for row in compared if row.ratio < LEVEL]
    counted = f"**Behind** in {len(ahead)} of {len(compared)} comparisons"
    if not ahead:
        return ""
    if brief:
        who = Counter(row.contender for row in ahead)
        return f"{counted}: {', '.join(f'{name} {count}' for name, count in who.most_common())}."
    lines = [
        [
            row.contender,
            tables.title(row),
            f"{row.ratio:.2f}",
            f"{row.ratio_q1:.2f} to {row.ratio_q3:.2f}",
            row.note,
        ]
        for row in ahead
    ]
    head = ["who is ahead", "where", "its time ÷ jaxnn's", "quartiles", ""]
    return f"{counted}:\n\n{tables.markdown(head, lines)}"


def gradients(run: Run) -> Run:
    """The part of a run that says most in a few rows: forward+backward, or a training step, at top level."""
    chosen = (row for row in run.rows if row.mode in ("both", "step") and row.place == "top")
    return replace(run, rows=tuple(chosen))


def only(run: Run, words: Sequence[str]) -> Run:
    """The rows whose family or case holds one of the words."""
    found = (row for row in run.rows if any(w.lower() in f"{row.family} {row.case}".lower() for w in words))
    return replace(run, rows=tuple(found))


def joined(runs: Sequence[Run]) -> list[Run]:
    """The runs, those of ``overhead`` under the same conditions as one: a chart shows all their depths."""
    result: list[Run] = []
    for run in runs:
        alike = (
            other
            for other in result
            if run.program == other.program == "overhead"
            and all(run.environment.get(k) == other.environment.get(k) for k in ("device", "versions"))
        )
        if (other := next(alike, None)) is None:
            result.append(run)
        else:
            result[result.index(other)] = replace(other, rows=(*other.rows, *run.rows))
    return result


def _place(place: str) -> str:
    return {"scan": "in a scan", "epoch": "epoch as one scan"}.get(place, "")


def _ratios(rows: Iterable[Row], name: str) -> list[float]:
    return [row.ratio for row in rows if row.contender == name and row.ratio is not None]


def rate_table(run: Run, of: str) -> str:
    """By net and place: how many of what jaxnn does per second, and the others' time over jaxnn's."""
    rows = [row for row in run.rows if row.status == "timed"]
    names = others(rows)
    lines = []
    for _, group in groupby(rows, key=lambda row: row.group):
        members = list(group)
        first = members[0]
        ours = next((row for row in members if row.contender == OURS), None)
        speed = f"{ours.examples / ours.median:,.0f}" if ours and ours.examples and ours.median else "–"
        what = ", ".join(word for word in (first.case, _place(first.place), first.dtype) if word)
        lines.append([what, speed, *(ratio_cell(_ratios(members, name)) for name in names)])
    head = ["net", f"jaxnn, {of}/s", *(f"{name} ÷ jaxnn" for name in names)]
    return tables.markdown(head, lines)


def overhead_table(run: Run) -> str:
    """A row per measurement, with the time of each contender."""
    names = [OURS, *others(run.rows)]
    lines = []
    for _, group in groupby(run.rows, key=lambda row: row.group):
        members = {row.contender: row for row in group}
        first = next(iter(members.values()))
        times = [tables.seconds(members[name].median) if name in members else "–" for name in names]
        lines.append([f"{first.mode}, {first.family}, {first.case}", *times])
    return tables.markdown(["what", *names], lines)


#: By program its name in titles, and its summary.
SUMMARIES: dict[str, tuple[str, Callable[[Run], str]]] = {
    "ops": ("Operations", ops_tables),
    "training": ("Training", lambda run: rate_table(run, "examples")),
    "fit": ("Training as a whole", lambda run: fit.table(run.rows)),
    "speedrun": ("CIFAR-10 speedrun", lambda run: speedrun.table(run.rows)),
    "generation": ("Generation", lambda run: rate_table(run, "ids")),
    "overhead": ("Overhead", overhead_table),
    "forms": ("Regret of the chosen forms", lambda run: forms.regret(run.rows)),
    "conformance": ("Conformance", lambda run: conformance.shares(run.rows)),
}
PROGRAMS = tuple(SUMMARIES)
#: Of these, how often another is ahead is counted.
RACES = ("ops", "training", "speedrun", "generation")
#: A title names the words of ``--only`` if they are no more than these.
FEW_WORDS = 3


def title(run: Run) -> str:
    """What was measured and beside whom: two runs have one title only if one repeats the other."""
    places = {_place(row.place) for row in run.rows}
    words = [
        SUMMARIES[run.program][0],
        "found by tuning" if run.environment.get("options", {}).get("tuned") == "True" else "",
        ", ".join(sorted({row.dtype for row in run.rows if row.dtype})),
        _shapes(run),
        places.pop() if len(places) == 1 else "",
        _depths(run) if run.program == "overhead" else "",
        f"beside {', '.join(names)}" if (names := _beside(run)) else "",
    ]
    return ", ".join(filter(None, words))


def _beside(run: Run) -> list[str]:
    """The other libraries; none in ``forms``, whose contenders are forms of jaxnn."""
    return [] if run.program == "forms" else [name for name in others(run.rows) if name != "fit"]


def _shapes(run: Run) -> str:
    """Which shapes; of drawn ones, which are measured to compare versions, the version of JAX too."""
    options = run.environment.get("options", {})
    if (drawn := options.get("random", "None")) != "None":
        version = run.environment["versions"]["jax"]
        return f"{drawn} random shapes of each family, seed {options['seed']}, JAX {version}"
    if (sets := options.get("sets", "[]")) != "[]":
        return f"layers of {', '.join(literal_eval(sets))}, JAX {run.environment['versions']['jax']}"
    words = {"all": "small and real", "real": "real", "small": "small"}
    only = literal_eval(options.get("only", "[]"))
    named = f"{', '.join(only)}, " if 0 < len(only) <= FEW_WORDS else ""
    return f"{named}{words[options['shapes']]} shapes" if options.get("shapes") in words else ""


def _depths(run: Run) -> str:
    depths = {int(row.case.split()[0]) for row in run.rows if row.case.split()[0].isdigit()}
    return f"{', '.join(map(str, sorted(depths)))} layers" if depths else ""


def section(run: Run, *, charts: Sequence[Path] = (), beside: Path | None = None, brief: bool = False) -> str:
    """A run as Markdown under its title; charts as images, their paths relative to the folder ``beside``."""
    ahead = behind(run, brief=brief) if run.program in RACES else ""
    parts = [f"**{title(run)}**", SUMMARIES[run.program][1](run), ahead, conditions(run)]
    for chart in charts:
        path = Path(os.path.relpath(chart.resolve(), (beside or Path.cwd()).resolve()))
        parts.append(f"![{chart.stem}]({path.as_posix()})")
    return "\n\n".join(part for part in parts if part)


def markdown(
    runs: Sequence[Run], *, charts: Path | None = None, beside: Path | None = None, brief: bool = False
) -> str:
    """All runs as Markdown, one section each, with charts that are drawn into the folder ``charts``."""
    sections = []
    for run in sorted(joined(runs), key=lambda run: PROGRAMS.index(run.program)):
        paths: list[Path] = []
        if charts is not None:
            from benchmarks.charts import draw  # matplotlib is optional

            paths = draw(run, charts, title(run), brief=brief)
        sections.append(section(run, charts=paths, beside=beside, brief=brief))
    return "\n\n".join(sections)


def conditions(run: Run) -> str:
    """The conditions under which the numbers hold, and what is missing from them."""
    n = [row.n for row in run.rows if row.n]
    timed = run.program != "conformance"
    missing = [row for row in run.rows if timed and row.status in ("wrong", "failed")]
    count = f"; medians of {min(n)} to {max(n)} rounds" if n else ""
    text = f"`{run.environment['command']}`: {environment.heading(run.environment)}{count}."
    if missing:
        listed = "; ".join(
            f"{row.contender}, {tables.title(row)}: {row.status}, {row.note}" for row in missing
        )
        text += f" Not timed: {listed}."
    return text


def insert(path: Path, text: str) -> None:
    """Replaces what stands between the markers of a file; raises a sentence if they are not there."""
    old = path.read_text()
    start, end = old.find(START), old.find(END)
    if start < 0 or end < start:
        raise ValueError(f"{path}: must hold {START} and, after it, {END}")
    path.write_text(f"{old[: start + len(START)]}\n{text}\n{old[end:]}")


def main(arguments: Sequence[str] | None = None) -> str:
    """The program; returns the Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, help="runs; by default the latest of each program")
    parser.add_argument("--results", type=Path, default=record.RESULTS, help="where the runs are")
    parser.add_argument("--charts", action="store_true", help="draw the charts into that folder")
    parser.add_argument(
        "--insert", type=Path, metavar="FILE", help="put the text between the markers of FILE"
    )
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page of the named files, or of all runs"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--full", action="store_true", help="every row, not the summary")
    length.add_argument("--brief", action="store_true", help="gradients and training steps at top level only")
    parser.add_argument(
        "--only", nargs="+", metavar="WORD", help="families and cases with one of these words"
    )
    given = parser.parse_args(arguments)
    named = [part for path in given.files for part in record.load(path).by_program()]
    runs = named or record.latest(PROGRAMS, given.results)
    if not runs:
        parser.error(f"no runs in {given.results}; python -m benchmarks makes some")
    if given.html:
        record.write(given.html, page.html([record.load(path) for path in given.files] or runs))
        print(f"written: {given.html}")
        return ""
    if given.brief:
        runs = [shorter for shorter in map(gradients, runs) if shorter.rows]
    if given.only:
        runs = [shorter for run in runs if (shorter := only(run, given.only)).rows]
        if not runs:
            parser.error(f"--only: no row has one of {given.only} in its family or case")
    beside = given.insert.parent if given.insert else Path.cwd()
    if given.full:
        text = "\n\n".join(f"{conditions(run)}\n\n```\n{tables.terminal(run.rows)}\n```" for run in runs)
    else:
        charts = given.results if given.charts else None
        text = markdown(runs, charts=charts, beside=beside, brief=given.brief)
    if given.insert:
        insert(given.insert, text)
    else:
        print(text)
    return text


if __name__ == "__main__":
    main(sys.argv[1:])
