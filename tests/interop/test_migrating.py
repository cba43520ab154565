"""The blocks of docs/migrating.md that need a library which is not installed for tests run where it is."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "migrating.md"
BLOCKS = re.findall(r"^```py\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split()[1])
def test_blocks_for_other_libraries(block):
    code = compile(block, PAGE, "exec")
    if find_spec(block.split()[1]):
        exec(code, {})


def test_there_are_such_blocks():
    assert [block.split()[1] for block in BLOCKS] == ["torch", "keras"]
