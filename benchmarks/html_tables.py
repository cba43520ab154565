"""Tables of a page that ``page.js`` lets a reader sort and filter."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple


class Number(NamedTuple):
    """A text that sorts by its value; what has none sorts last."""

    text: str
    value: float | None


class Status(NamedTuple):
    """A text in the colour of a status."""

    text: str
    status: str


Cell = str | Number | Status


def number(value: float | None, form: str) -> Number:
    """A number in a format, or nothing.

    >>> number(0.251, ".0%"), number(None, ".0%")
    (Number(text='25%', value=0.251), Number(text='', value=None))
    """
    return Number("" if value is None else format(value, form), value)


def table(name: str, head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A table whose heads sort it; ``name`` is its id in the page."""
    heads = "".join(f'<th scope="col"><button type="button">{escape(word)}</button></th>' for word in head)
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table class="sortable" id="{name}"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def filtered(
    name: str, head: Sequence[str], rows: Iterable[Sequence[Cell]], choose: Sequence[str] = ()
) -> str:
    """A table under a field for words, and a list of the values of each column in ``choose``."""
    every = '<option value="">all</option>'
    choices = "".join(
        f'<label>{escape(word)} <select data-column="{head.index(word)}">{every}</select></label>'
        for word in choose
    )
    words = '<label>with the words <input type="search"></label>'
    tools = f'<div class="tools" data-for="{name}">{words}{choices}<output></output></div>'
    return tools + table(name, head, rows)


def cell(content: Cell) -> str:
    """A cell as HTML."""
    match content:
        case Number(text, value):
            sorts_by = "NaN" if value is None else f"{value:.9g}"
            return f'<td class="number" data-value="{sorts_by}">{escape(text)}</td>'
        case Status(text, status):
            return f'<td class="{escape(status.replace(" ", "-"))}">{escape(text)}</td>'
    return f"<td>{escape(str(content))}</td>"
