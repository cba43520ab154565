"""Charts of a run: ratios to jaxnn on a logarithmic axis, or times over depth.

The look is that of ``jaxnn.plots``; each contender has a colour and a marker of its own.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks import tables
from benchmarks.race import OURS
from benchmarks.record import Row, Run
from jaxnn.plots.style import COLOURS, STYLE

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = COLOURS
BLACK = "#000000"

#: By contender: colour and marker.
MARKS = {
    "jaxnn": (BLACK, "o"),
    "lax": (VERMILION, "s"),
    "flax": (BLUE, "^"),
    "flax + jaxnn conv": (SKY, "v"),
    "equinox": (GREEN, "D"),
    "haiku": (ORANGE, "P"),
    "torch": (PURPLE, "X"),
    "torch channels_last": (PURPLE, "*"),
    "torch compile": (PURPLE, "p"),
    "jaxnn tuned": (BLACK, "^"),
    "jaxnn + oneDNN": (BLACK, "d"),
    "lax + oneDNN": (VERMILION, "D"),
    "jaxnn repeat": (BLACK, "h"),
}


class Line(NamedTuple):
    """A title, and by contender its time over jaxnn's with the ends of its range; a heading has no points."""

    title: str
    points: Mapping[str, tuple[float, float, float]] = {}


def draw(run: Run, folder: Path, title: str, *, brief: bool = False) -> list[Path]:
    """The charts of a run as PNG files named after its title; returns their paths.

    In brief, operations are drawn by family: a line per family instead of one per case.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for row in run.rows if row.status == "timed"]
    paths = []
    with matplotlib.rc_context(STYLE):
        for name, figure in _figures(run.program, rows, brief).items():
            words = re.findall(r"\w+", f"{title} {name} {run.environment['platform']}".lower())
            path = folder / f"{'-'.join(dict.fromkeys(words))}.png"
            figure.savefig(path)
            paths.append(path)
    return paths


def _figures(program: str, rows: Sequence[Row], brief: bool) -> dict[str, Figure]:
    """By the name of its file; only races of contenders are drawn."""
    if program in ("forms", "fit", "conformance"):
        return {}
    if program == "overhead":
        modes = dict.fromkeys(row.mode for row in rows if row.mode != "import")
        return {mode: over_depth(rows, mode) for mode in modes}
    figures = {}
    for kind in dict.fromkeys((row.mode, row.place, row.dtype) for row in rows):
        chosen = [row for row in rows if (row.mode, row.place, row.dtype) == kind and row.ratio]
        if chosen and brief and program == "ops":
            figures[f"{'-'.join(kind)}-families"] = by_family(chosen)
        elif chosen:
            figures["-".join(kind)] = by_case(chosen)
    return figures


def by_case(rows: Sequence[Row]) -> Figure:
    """A line per case under the heading of its family: each contender's time over jaxnn's, and quartiles."""
    families = list(dict.fromkeys(row.family for row in rows))
    rows = sorted(rows, key=lambda row: families.index(row.family))  # random shapes take turns
    groups = [list(members) for _, members in groupby(rows, key=lambda row: row.group)]
    headed = len({members[0].family for members in groups}) < len(groups)
    lines: list[Line] = []
    for family, of_family in groupby(groups, key=lambda members: members[0].family):
        if headed:
            lines.append(Line(family))
        for members in of_family:
            points = {
                row.contender: (row.ratio, row.ratio_q1 or row.ratio, row.ratio_q3 or row.ratio)
                for row in members
                if row.ratio and row.contender != OURS
            }
            lines.append(Line(members[0].case, points))
    return _ratios(lines, rows[0])


def by_family(rows: Sequence[Row]) -> Figure:
    """A line per family: the geometric mean of each contender's times over jaxnn's, and their range."""
    lines = []
    for family in dict.fromkeys(row.family for row in rows):
        ratios: dict[str, list[float]] = {}
        for row in rows:
            if row.family == family and row.ratio and row.contender != OURS:
                ratios.setdefault(row.contender, []).append(row.ratio)
        points = {
            name: (float(np.exp(np.mean(np.log(values)))), min(values), max(values))
            for name, values in ratios.items()
        }
        lines.append(Line(f"{family} ({max(map(len, ratios.values()), default=0)})", points))
    return _ratios(lines, rows[0])


def _ratios(lines: Sequence[Line], first: Row) -> Figure:
    """The lines below each other. Left of 1, shaded, another library is ahead."""
    figure = Figure(figsize=(8, 1.3 + 0.2 * len(lines)), layout="constrained")
    axes = figure.subplots()
    seen: dict[str, Any] = {}
    for y, line in enumerate(lines):
        if line.points:
            axes.axhline(y, color="0.9", linewidth=0.8, zorder=0)
        for place, (contender, (value, low, high)) in enumerate(line.points.items()):
            colour, marker = MARKS[contender]
            # A little apart, so that no range hides another.
            at = y + 0.3 * (place - (len(line.points) - 1) / 2) / len(line.points)
            axes.plot([low, high], [at, at], color=colour, linewidth=1.2, alpha=0.7, zorder=2)
            (seen[contender],) = axes.plot(value, at, color=colour, marker=marker, linestyle="none", zorder=3)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    low, high = min(low, 0.5), max(high, 2.0)
    axes.set_xlim(low, high)
    axes.axvspan(low, 1, color="0.5", alpha=0.12, linewidth=0, zorder=0)
    axes.axvline(1, color=BLACK, linewidth=1, zorder=1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(range(len(lines)), [line.title for line in lines])
    for tick, line in zip(axes.get_yticklabels(), lines, strict=True):
        if not line.points:
            tick.set_fontweight("bold")
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("time ÷ jaxnn's time (shaded: jaxnn is behind)")
    words = (tables.WORDS.get(text, text) for text in (first.mode, first.place, first.dtype))
    what = " · ".join(filter(None, words))
    figure.suptitle(what, fontweight="bold")
    if seen:
        figure.legend(seen.values(), seen.keys(), loc="outside lower center", ncols=len(seen), frameon=False)
    return figure


def over_depth(rows: Sequence[Row], mode: str) -> Figure:
    """Time over the number of layers, for deep and for wide nets."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    seen: dict[str, Any] = {}
    for axes, family in zip(panels, ("deep", "wide"), strict=True):
        chosen = [row for row in rows if row.mode == mode and row.family == family]
        for name in dict.fromkeys(row.contender for row in chosen):
            points = [(int(row.case.split()[0]), row.median) for row in chosen if row.contender == name]
            colour, marker = MARKS[name]
            dashes = "--" if name == "jaxnn repeat" else "-"
            (seen[name],) = axes.plot(
                *zip(*points, strict=True), color=colour, marker=marker, linestyle=dashes
            )
        axes.set(xscale="log", yscale="log", title=f"{mode}, {family} nets", xlabel="dense layers")
    panels[0].set_ylabel("seconds")
    if seen:
        figure.legend(seen.values(), seen.keys(), loc="outside lower center", ncols=len(seen), frameon=False)
    return figure
