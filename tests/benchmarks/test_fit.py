"""The program that times whole runs, on tiny ones."""

import pytest

from benchmarks import fit, record
from benchmarks.loops import Task, data, order, ours

TINY = Task("LSTM", "LSTM, tiny", (3, 2), 4, 3)


def test_all_ways_to_train_are_timed(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(fit, "TASKS", (TINY,))
    monkeypatch.setattr(fit, "NEEDS", {"flax_nnx": "not installed", "pytorch": "not installed"})
    run = fit.main(["--rounds", "2", "--out", str(tmp_path)])
    (path,) = tmp_path.iterdir()
    assert record.load(path).rows == run.rows
    steps = {(row.place, row.contender): row for row in run.rows if row.mode == "step" and row.ratio}
    assert set(steps) == {(way, who) for way in fit.WAYS for who in ("fit", "JAX by hand")}
    assert all(row.median > 0 for row in steps.values())
    assert all(row.ratio == 1 for (_, who), row in steps.items() if who == "fit")
    waited = {row.place: row for row in run.rows if row.mode == "waited"}
    assert list(waited) == ["fast host", "slow host"]
    printed = capsys.readouterr().out
    assert printed.count("LSTM, tiny: ") == 5
    assert f"written: {path}" in printed


def test_the_ways_of_a_run_learn_the_same():
    """Scanned and from the host: the losses of two epochs are equal to the bit."""
    arrays = data(TINY)
    found = []
    for make in (ours.scanned, ours.unscanned):
        run = make(TINY, arrays)
        found.append([run(1), run(2)])
        run.close()
    assert found[0] == found[1]


def test_an_error_in_a_run_is_raised_where_it_is_called():
    run = ours.Fit(TINY, tuple(data(TINY)), batch_size=1000)
    with pytest.raises(ValueError, match=r"fit: batch_size must be from 1 to the 12 examples"):
        run(1)


def test_each_epoch_goes_through_all_rows_in_an_order_of_its_own():
    first, second = order(TINY, 1), order(TINY, 2)
    assert first.shape == (3, 4)
    assert sorted(first.ravel()) == sorted(second.ravel()) == list(range(12))
    assert (first != second).any()
