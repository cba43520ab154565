"""The work of one device of many, counted."""

import pytest

from benchmarks import scaling
from tests.support import deep, on_cpu


def test_the_program_writes_its_table(tmp_path, capsys):
    options = ["--devices", "1", "8", "--only", "MLP", "--rules", "replicated", "--out"]
    text = scaling.main([*options, str(tmp_path)])
    assert (tmp_path / "scaling.md").read_text() == text
    assert text in capsys.readouterr().out
    rows = [line.split("|")[2:6] for line in text.splitlines() if line.startswith("| MLP")]
    rules, kinds, counts, batches = ([cell.strip() for cell in column] for column in zip(*rows, strict=True))
    assert rules == ["replicated"] * 4
    assert kinds == ["strong", "strong", "weak", "weak"]
    assert (counts, batches) == (["1", "8"] * 2, ["64", "64", "16", "128"])


@on_cpu
@pytest.mark.parametrize("rule", [deep("replicated"), "fully sharded"])
def test_eight_devices_share_the_work(rule):
    """Of the products each does an eighth; what it sends does not depend on the batch."""
    name = "MLP 256-512-512-10"
    one, many, weak = (
        scaling.work(name, scaling.over(rule, n), rows) for n, rows in ((1, 64), (8, 64), (8, 128))
    )
    weights = 4 * (256 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10)
    assert one.sent == 0
    assert 1 / 8 <= many.flops / one.flops < 1 / 4
    gathered = weights if rule == "fully sharded" else 0
    assert weights + 0.9 * gathered <= many.sent <= weights + gathered + 64
    assert weak.sent == many.sent
    assert one.held == 2 * weights
    assert many.held < one.held / 7 if gathered else many.held == one.held
