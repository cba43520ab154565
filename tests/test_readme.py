"""The README's Python blocks run, in order, and print what stands below them."""

import contextlib
import io
import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCK = re.compile(r"```python\n(.*?)```(?:\s*```text\n(.*?)```)?", re.DOTALL)
NUMBER = re.compile(r"-?\d+\.\d+")


def test_the_blocks_run_and_print_what_stands_below():
    blocks = BLOCK.findall(README)
    assert len(blocks) >= 3
    names: dict[str, object] = {}
    for code, expected in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "README.md", "exec"), names)
        assert_same_text(printed.getvalue(), expected)


def assert_same_text(printed: str, expected: str) -> None:
    """Equal but for decimals, which may differ a little: JAX promises no equal numbers across versions."""
    assert NUMBER.sub("#", printed).split() == NUMBER.sub("#", expected).split(), printed
    for a, b in zip(NUMBER.findall(printed), NUMBER.findall(expected), strict=True):
        assert float(a) == pytest.approx(float(b), rel=0.3, abs=0.2), printed


def test_the_table_names_every_layer():
    import jaxnn as nn

    named = set(re.findall(r"`([a-z0-9_]+)[(`]", README))
    assert set(nn.layers.__all__) | set(nn.combinators.__all__) <= named
