"""The program that times whole runs, on a tiny one."""

import jaxnn as nn
from benchmarks import fit


def test_all_ways_to_train_are_timed(monkeypatch, capsys):
    monkeypatch.setattr(fit, "CASES", {"tiny": (nn.dense(10), (3,), 4, 2)})
    fit.steps_per_second(rounds=1)
    *_, head, _, row = capsys.readouterr().out.splitlines()
    assert head.count("|") == row.count("|") == 8
    rates = [float(cell.strip().replace(",", "").rstrip("%")) for cell in row.split("|")[2:-1]]
    assert all(rate > 0 for rate in rates[:-1])
