"""The result of ``diagnose``: numbers by layer, and sentences."""

from dataclasses import dataclass
from html import escape

from jaxnn.inspection.table import Table


@dataclass(frozen=True)
class Reading:
    """What ``diagnose`` reports of one layer in a training step; None where something does not apply."""

    path: str
    mean: float | None
    deviation: float | None
    zeros: float | None
    dead: float | None
    saturated: float | None
    not_finite: float | None
    gradient: float | None
    weight: float | None
    weight_gradient: float | None
    update_ratio: float | None


@dataclass(frozen=True)
class Diagnosis:
    """The readings of all layers in the order of the calls, the loss, and what looks wrong.

    Prints as a table with the sentences below it, as HTML in a notebook.
    """

    rows: tuple[Reading, ...]
    loss: float
    warnings: tuple[str, ...]

    def _table(self) -> Table:
        numbers = ("mean", "deviation", "gradient", "weight_gradient", "update_ratio")
        body = []
        for row in self.rows:
            cells = [number(getattr(row, name)) for name in numbers]
            cells[2:2] = [percent(share) for share in (row.zeros, row.dead, row.saturated)]
            body.append((row.path, *cells))
        return Table(
            ("layer", *numbers[:2], "zeros", "dead", "saturated", "gradient", "∇ weights", "update"), body
        )

    def _sentences(self) -> tuple[str, ...]:
        return self.warnings or ("Nothing looks wrong.",)

    def __str__(self) -> str:
        return "\n".join([self._table().text(), "", f"loss {number(self.loss)}", *self._sentences()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{escape(sentence)}</li>" for sentence in self._sentences())
        return f"<div>{self._table().html()}<p>loss {number(self.loss)}</p><ul>{items}</ul></div>"


def number(value: float | None) -> str:
    """Three digits or so, with a decimal point; a dash for None.

    >>> [number(v) for v in (None, 0.0, 0.0123, -45.678, 6789.0, 1e-9)]
    ['—', '0.0', '0.012', '−45.678', '6.8e+03', '1.0e-09']
    """
    if value is None:
        return "—"
    if value == 0:
        return "0.0"
    text = f"{value:.3f}" if 0.01 <= abs(value) < 1000 else f"{value:.1e}"
    return text.replace("-", "−", 1) if value < 0 else text


def percent(share: float | None) -> str:
    """A share in per cent; a dash for None.

    >>> percent(0.625)
    '62.5 %'
    """
    return "—" if share is None else f"{100 * share:.1f} %"
