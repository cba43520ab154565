"""Runs the Python blocks of a Markdown file as a reader would: in order, in one namespace."""

import contextlib
import io
import re
from pathlib import Path

import pytest

BLOCK = re.compile(r"^```python\n(.*?)^```(?:\s*```text\n(.*?)^```)?", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"-?\d+\.\d+")


def run_blocks(path: Path, *, rel: float, abs: float) -> dict[str, object]:
    """Runs every block; what one prints must equal the text block that follows it, decimals within tolerance.

    Returns the names that the blocks have defined.
    """
    text = path.read_text()
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == text.count("```python"), f"{path.name}: a block does not end"
    names: dict[str, object] = {}
    for block in blocks:
        code, expected = block.groups(default="")
        above = text[: block.start(1)].count("\n")  # so that a traceback names the line in the file
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * above + code, path, "exec"), names)
        assert_same_text(printed.getvalue(), expected, rel=rel, abs=abs)
    return names


def assert_same_text(printed: str, expected: str, *, rel: float, abs: float) -> None:
    """Equal except for decimals, which may differ a little: JAX promises no equal numbers across versions."""
    assert NUMBER.sub("#", printed).split() == NUMBER.sub("#", expected).split(), printed
    for a, b in zip(NUMBER.findall(printed), NUMBER.findall(expected), strict=True):
        assert float(a) == pytest.approx(float(b), rel=rel, abs=abs), printed
