"""A table of text, for a terminal and for a notebook."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

Cells = Sequence[str]


@dataclass(frozen=True)
class Table:
    """Rows of cells under a head, with an optional row of totals.

    Attributes:
      head: the titles of the columns.
      body: the rows.
      foot: the totals, or nothing.
      left: the number of left-aligned columns; the others, which hold numbers, are right-aligned.
    """

    head: Cells
    body: Sequence[Cells]
    foot: Cells = ()
    left: int = 1

    def text(self) -> str:
        """As lines, with rules between head, body and foot."""
        rows = [self.head, *self.body, *([self.foot] if self.foot else [])]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

        def line(cells: Cells) -> str:
            aligned = (
                f"{cell:{'<' if i < self.left else '>'}{width}}"
                for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
            )
            return "  ".join(aligned).rstrip()

        rule = "─" * (sum(widths) + 2 * len(widths) - 2)
        below = [rule, line(self.foot)] if self.foot else []
        return "\n".join([line(self.head), rule, *map(line, self.body), *below])

    def html(self) -> str:
        """As an HTML table, in which nothing in a cell is read as HTML."""
        foot = f"<tfoot>{self._row(self.foot, 'th')}</tfoot>" if self.foot else ""
        body = "".join(self._row(row, "td") for row in self.body)
        return f"<table><thead>{self._row(self.head, 'th')}</thead><tbody>{body}</tbody>{foot}</table>"

    def _row(self, cells: Cells, tag: str) -> str:
        sides = ("left" if i < self.left else "right" for i in range(len(cells)))
        inner = (
            f'<{tag} style="text-align: {side}">{escape(cell)}</{tag}>'
            for cell, side in zip(cells, sides, strict=True)
        )
        return f"<tr>{''.join(inner)}</tr>"


def short(n: Any) -> str:
    """A count to three digits: 950, 1.23 k, 45.6 M. A dash if it is unknown, symbols unchanged.

    >>> [short(n) for n in (0, 999, 1000, 999_600, 12_345_678, None)]
    ['0', '999', '1 k', '1 M', '12.3 M', '—']
    """
    if n is None:
        return "—"
    if not isinstance(n, int):
        return str(n)
    units = iter(("", " k", " M", " G", " T", " P", " E"))
    unit = next(units)
    while float(f"{n:.3g}") >= 1000:
        n, unit = n / 1000, next(units)
    return f"{n:.3g}{unit}"
