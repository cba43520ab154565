"""The program that times folded nets runs, and has a row per net."""

import pytest

from benchmarks import inference


@pytest.mark.deep
def test_a_row_per_net():
    head, rule, row = inference.main(["--shapes", "tiny", "--repeats", "2", "--seconds", "0.05"])
    assert head.count("|") == rule.count("|") == row.count("|")
    assert row.startswith("| ResNet, 2×8×8×3 |")
    assert len(inference.main(["--shapes", "tiny", "--only", "none"])) == 2
