"""Charts as SVG text, drawn by hand so that a page needs no library: a roofline, and ratios on a logarithmic
axis.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

#: By contender, the class that the page's style sheet gives a colour.
KINDS = ("jaxnn", "lax", "flax", "equinox", "haiku", "torch")
WIDTH = 760


@dataclass(frozen=True)
class Scale:
    """A logarithmic axis from values to places."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (log10(value) - log10(self.low)) / (log10(self.high) - log10(self.low))
        return self.start + share * (self.end - self.start)

    def decades(self) -> Iterator[float]:
        """The powers of ten on it."""
        for power in range(ceil(log10(self.low) - 1e-9), floor(log10(self.high) + 1e-9) + 1):
            yield 10.0**power

    @classmethod
    def around(cls, values: Sequence[float], start: float, end: float, *, whole: bool = True) -> "Scale":
        """An axis that holds all values; ``whole`` if it ends at powers of ten."""
        low, high = min(values), max(values)
        if whole:
            low, high = 10.0 ** floor(log10(low)), 10.0 ** ceil(log10(high))
        return cls(low, high if high > low else 10 * low, start, end)


@dataclass(frozen=True)
class Point:
    """A measured value: at x, y, of a contender, with a text that shows when it is pointed at."""

    x: float
    y: float
    contender: str
    text: str


@dataclass(frozen=True)
class Line:
    """A title, and by contender a value with the ends of its range; a heading has no values."""

    title: str
    values: Mapping[str, tuple[float, float, float]]


def roofline(points: Sequence[Point], roofs: Mapping[str, Mapping[str, float]]) -> str:
    """Operations per second over operations per byte, on logarithmic axes, under the measured limits.

    Args:
      points: measured.
      roofs: by name ``flops`` and ``bytes``, in units per second: a flat roof and a slope.
    """
    height, left, bottom = 420, 70, 50
    ridges = [roof["flops"] / roof["bytes"] for roof in roofs.values()]
    xs, ys = [point.x for point in points], [point.y for point in points]
    x = Scale.around([*xs, *ridges, *(10 * ridge for ridge in ridges)], left, WIDTH - 20)
    tops = [roof["flops"] for roof in roofs.values()]
    y = Scale.around([*ys, *tops], height - bottom, 20)
    parts = [*_grid(x, y, "operations per byte", "operations per second", height)]
    for name, roof in roofs.items():
        ridge, start = roof["flops"] / roof["bytes"], max(x.low, y.low / roof["bytes"])
        corners = [(start, start * roof["bytes"]), (ridge, roof["flops"]), (x.high, roof["flops"])]
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in corners)
        parts.append(f'<polyline class="roof" points="{path}"><title>{escape(name)}</title></polyline>')
        at = f'x="{WIDTH - 24}" y="{y(roof["flops"]) - 6:.1f}"'
        parts.append(f'<text class="end" {at}>{escape(name)}: {_si(roof["flops"])}FLOP/s</text>')
    parts += [_mark(x(p.x), y(p.y), p.contender, p.text) for p in points]
    return _svg(parts, height, "roofline", [p.contender for p in points])


def ratios(lines: Sequence[Line], label: str) -> str:
    """A line per case or family, on a logarithmic axis; left of 1, shaded, another is ahead of jaxnn."""
    left, step, top = 270, 20, 8
    height = top + step * len(lines) + 46
    values = [v for line in lines for triple in line.values.values() for v in triple if v > 0]
    x = Scale.around([0.5, 2.0, *values], left, WIDTH - 20, whole=False)
    end = height - 46
    parts = [f'<rect class="behind" x="{left}" y="0" width="{x(1) - left:.1f}" height="{end}"/>']
    for tick in _ones_twos_fives(x):
        place = f'x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="0" y2="{end}"'
        parts.append(f'<line class="{"one" if tick == 1 else "grid"}" {place}/>')
        parts.append(f'<text class="middle" x="{x(tick):.1f}" y="{end + 16}">{tick:g}</text>')
    for i, line in enumerate(lines):
        y = top + step * i + step / 2
        style = "end" if line.values else "end heading"
        parts.append(
            f'<text class="{style}" x="{left - 8}" y="{y + 4:.1f}">{escape(_short(line.title))}</text>'
        )
        for j, (contender, (value, low, high)) in enumerate(line.values.items()):
            at = y + (j - (len(line.values) - 1) / 2) * 12 / max(len(line.values), 1)
            ends = (
                f'x1="{x(max(low, x.low)):.1f}" x2="{x(min(high, x.high)):.1f}" y1="{at:.1f}" y2="{at:.1f}"'
            )
            parts.append(f'<line class="range {_kind(contender)}" {ends}/>')
            text = f"{line.title}: {contender} {value:.2f} ({low:.2f} to {high:.2f})"
            parts.append(_mark(x(value), at, contender, text))
    parts.append(f'<text class="middle" x="{(left + WIDTH) / 2}" y="{height - 8}">{escape(label)}</text>')
    return _svg(parts, height, "ratios", [name for line in lines for name in line.values])


def _svg(parts: Sequence[str], height: float, kind: str, contenders: Sequence[str]) -> str:
    names = dict.fromkeys(contenders)
    legend = "".join(f'<li class="{_kind(name)}">{escape(name)}</li>' for name in names)
    return (
        f'<figure class="{kind}"><svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{kind}">'
        f'{"".join(parts)}</svg><ul class="legend">{legend}</ul></figure>'
    )


def _grid(x: Scale, y: Scale, across: str, up: str, height: float) -> Iterator[str]:
    for tick in x.decades():
        place = f'x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{y.end}" y2="{y.start}"'
        yield f'<line class="grid" {place}/>'
        yield f'<text class="middle" x="{x(tick):.1f}" y="{y.start + 16}">{tick:g}</text>'
    for tick in y.decades():
        place = f'x1="{x.start}" x2="{x.end}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"'
        yield f'<line class="grid" {place}/>'
        yield f'<text class="end" x="{x.start - 6}" y="{y(tick) + 4:.1f}">{_si(tick)}</text>'
    yield f'<text class="middle" x="{(x.start + x.end) / 2}" y="{height - 12}">{across}</text>'
    yield f'<text class="middle" transform="translate(16 {(y.start + y.end) / 2}) rotate(-90)">{up}</text>'


def _mark(x: float, y: float, contender: str, text: str) -> str:
    place = f'class="{_kind(contender)}" cx="{x:.1f}" cy="{y:.1f}" r="4"'
    return f"<circle {place}><title>{escape(text)}</title></circle>"


def _kind(contender: str) -> str:
    first = contender.split()[0]
    return f"of-{first}" if first in KINDS else "of-other"


def _short(title: str) -> str:
    return title if len(title) <= 40 else f"{title[:39]}…"


def _si(value: float) -> str:
    """Three digits and a prefix.

    >>> _si(2.5e9), _si(1e12), _si(10.0)
    ('2.5 G', '1 T', '10 ')
    """
    for size, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:.3g} "


def _ones_twos_fives(x: Scale) -> Iterator[float]:
    wide = x.high / x.low > 1000
    for power in range(floor(log10(x.low)), ceil(log10(x.high)) + 1):
        for digit in (1,) if wide else (1, 2, 5):
            if x.low <= (value := digit * 10.0**power) <= x.high:
                yield value
