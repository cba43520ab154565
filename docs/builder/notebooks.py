"""Notebooks: stored without outputs, run here, and shown with what they print and draw."""

import ast
import contextlib
import io
import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

FOLDER = Path(__file__).parent.parent / "notebooks"
ALL = sorted(FOLDER.glob("*.ipynb"))


class Shown(NamedTuple):
    """A cell with what it gave: ``kind`` is "markdown" or "code"; ``figure`` is a PNG."""

    kind: str
    source: str
    text: str = ""
    html: str = ""
    figure: bytes = b""


@cache
def run(path: Path) -> tuple[Shown, ...]:
    """Runs the cells in order, in one namespace; the value of a cell's last expression is shown."""
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = []
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            shown.append(Shown("markdown", source))
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            value = execute(source, f"{path.name}, cell {number}", names)
        shown.append(result(source, printed.getvalue(), value))
    return tuple(shown)


def execute(source: str, where: str, names: dict[str, Any]) -> Any:
    """Runs one cell; the value of its last line if that is an expression."""
    program = ast.parse(source)
    last = program.body[-1] if program.body else None
    value = None
    if isinstance(last, ast.Expr):
        program.body.pop()
    exec(compile(program, where, "exec"), names)
    if isinstance(last, ast.Expr):
        value = eval(compile(ast.Expression(last.value), where, "eval"), names)
    return value


def result(source: str, printed: str, value: Any) -> Shown:
    if isinstance(value, Figure):
        drawn = io.BytesIO()
        value.savefig(drawn, format="png", dpi=110)
        return Shown("code", source, printed, figure=drawn.getvalue())
    if hasattr(value, "_repr_html_"):
        return Shown("code", source, printed, html=value._repr_html_())
    return Shown("code", source, printed + ("" if value is None else f"{value!r}\n"))


def pages() -> dict[str, str]:
    """Each notebook as a page."""
    return {f"notebooks/{path.stem}.md": page(path) for path in ALL}


def page(path: Path) -> str:
    parts = []
    for number, cell in enumerate(run(path)):
        if cell.kind == "markdown":
            parts.append(cell.source)
            if number == 0:
                parts.append(f"[The notebook]({path.name}), to be opened in Jupyter.")
            continue
        parts.append(f"```python\n{cell.source}\n```")
        if cell.text:
            parts.append(f"```text\n{cell.text.rstrip()}\n```")
        if cell.html:
            parts.append(f"```{{raw}} html\n{cell.html}\n```")
        if cell.figure:
            parts.append(f"![]({picture(path, number)})")
    return "\n\n".join(parts) + "\n"


def picture(path: Path, number: int) -> str:
    return f"{path.stem}-{number}.png"


def pictures(folder: Path) -> None:
    """Writes the figures that the pages show."""
    for path in ALL:
        for number, cell in enumerate(run(path)):
            if cell.figure:
                (folder / picture(path, number)).write_bytes(cell.figure)
