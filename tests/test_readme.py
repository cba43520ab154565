"""The README's Python blocks run, in order, and print what stands below them."""

import re
from pathlib import Path

from tests.markdown import run_blocks

README = Path(__file__).parent.parent / "README.md"


def test_the_blocks_run_and_print_what_stands_below():
    # The numbers of a trained net differ from machine to machine.
    names = run_blocks(README, rel=0.3, abs=0.2)
    assert "net" in names


def test_it_is_read_in_two_minutes():
    prose = re.sub(r"^```.*?^```|<!-- benchmarks:start.*benchmarks:end -->", "", README.read_text(),
                   flags=re.DOTALL | re.MULTILINE)  # fmt: skip
    assert len(prose.split()) < 600
