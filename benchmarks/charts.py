"""Charts of a run: ratios to jaxnn on a logarithmic axis, or times over depth.

Colours are Okabe and Ito's, told apart by all eyes; each contender has a marker of its own as well.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from benchmarks import tables
from benchmarks.race import OURS
from benchmarks.record import Row, Run

#: By contender: colour and marker.
STYLES = {
    "jaxnn": ("#000000", "o"),
    "lax": ("#D55E00", "s"),
    "flax": ("#0072B2", "^"),
    "flax + jaxnn conv": ("#56B4E9", "v"),
    "equinox": ("#009E73", "D"),
    "haiku": ("#E69F00", "P"),
    "torch": ("#CC79A7", "X"),
    "torch channels_last": ("#CC79A7", "*"),
    "torch compile": ("#CC79A7", "p"),
    "jaxnn repeat": ("#000000", "h"),
}


def draw(run: Run, folder: Path) -> list[Path]:
    """The charts of a run as PNG files; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for row in run.rows if row.status == "timed"]
    figures: dict[str, Figure] = {}
    if run.program == "overhead":
        figures = {
            mode: over_depth(rows, mode) for mode in dict.fromkeys(r.mode for r in rows) if mode != "import"
        }
    else:
        kinds = dict.fromkeys((row.mode, row.place, row.dtype) for row in rows)
        for kind in kinds:
            chosen = [row for row in rows if (row.mode, row.place, row.dtype) == kind and row.ratio]
            if chosen:
                figures["-".join(kind)] = ratios(chosen)
    paths = []
    shapes = run.environment.get("options", {}).get("shapes")
    for name, figure in figures.items():
        words = [run.program, shapes, name, run.environment["platform"]]
        path = folder / f"{'-'.join(filter(None, words))}.png"
        figure.savefig(path, dpi=120, bbox_inches="tight")
        paths.append(path)
    return paths


def ratios(rows: Sequence[Row]) -> Figure:
    """A line a case, a point a contender: its time over jaxnn's, with quartiles; right of 1 it is slower."""
    groups = [list(members) for _, members in groupby(rows, key=lambda row: row.group)]
    figure = Figure(figsize=(9, 1.5 + 0.28 * len(groups)))
    axes = figure.subplots()
    seen: dict[str, Any] = {}
    for y, members in enumerate(groups):
        for row in members:
            if row.ratio is None or row.contender == OURS:
                continue
            colour, marker = STYLES[row.contender]
            spread = [[row.ratio - (row.ratio_q1 or 0)], [(row.ratio_q3 or 0) - row.ratio]]
            seen[row.contender] = axes.errorbar(
                row.ratio, y, xerr=spread, color=colour, marker=marker, linestyle="none", label=row.contender
            )
    axes.axvline(1, color=STYLES[OURS][0], linewidth=1)
    axes.set_xscale("log")
    for ticks in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        ticks(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
    axes.set_yticks(range(len(groups)), [members[0].case for members in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("time over jaxnn's; right of the line jaxnn is faster")
    first = rows[0]
    axes.set_title(" · ".join(filter(None, map(_words, (first.mode, first.place, first.dtype)))))
    if seen:
        axes.legend(seen.values(), seen.keys(), loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _words(text: str) -> str:
    return tables.WORDS.get(text, text)


def over_depth(rows: Sequence[Row], mode: str) -> Figure:
    """Time over the number of layers, for deep and for wide nets."""
    figure = Figure(figsize=(10, 4))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, family in zip(panels, ("deep", "wide"), strict=True):
        chosen = [row for row in rows if row.mode == mode and row.family == family]
        for name in dict.fromkeys(row.contender for row in chosen):
            points = [(int(row.case.split()[0]), row.median) for row in chosen if row.contender == name]
            colour, marker = STYLES[name]
            dashes = "--" if name == "jaxnn repeat" else "-"
            axes.plot(*zip(*points, strict=True), color=colour, marker=marker, linestyle=dashes, label=name)
        axes.set(xscale="log", yscale="log", title=f"{mode}, {family} nets", xlabel="dense layers")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("seconds")
    if panels[0].has_data():
        panels[0].legend()
    return figure
