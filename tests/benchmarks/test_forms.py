"""Forms beside the chosen one: which are timed, which failed or are wrong, and the regret."""

from dataclasses import replace
from itertools import chain, count

import jax
import pytest

from benchmarks import cases, forms, record, shapes, timing
from benchmarks.record import Row
from benchmarks.specs import Norm
from tests.support import on_cpu


def test_every_form_gets_a_row_and_the_chosen_one_says_so(tmp_path, capsys):
    forms.main(["--shapes", "tiny", "--only", "convolution", "--repeats", "1", "--out", str(tmp_path)])
    (path,) = tmp_path.glob("forms-*.json")
    rows = record.load(path).rows
    chosen = [row for row in rows if row.note == "chosen"]
    assert {row.contender for row in rows} >= {"lax", "grouped", "phases"}
    assert {row.case for row in chosen} == {row.case for row in rows}
    assert all(row.status == "timed" and row.ratio == 1 for row in chosen)
    assert (
        "| operation | problems | longer than the best, mean | at worst | where |" in capsys.readouterr().out
    )


def form(family, case, name, ratio, regret=None):
    return Row("forms", family, case, name, "forward", ratio=ratio, regret=regret)


def test_regret_is_that_of_each_operation_and_of_all():
    rows = [
        form("sum", "a", "plain", 1.0, 1.0), form("sum", "a", "other", 0.5),
        form("sum", "b", "plain", 1.0, -0.01), form("sum", "b", "other", 2.0),
        form("max_pool", "a", "plain", 1.0, 0.0),
    ]  # fmt: skip
    assert forms.regret(rows).splitlines()[2:] == [
        "| sum | 2 | 50% | 100% | sum, a: other is faster |",
        "| max pool | 1 | 0% | 0% |  |",
        "| all | 3 | 33% | 100% | sum, a: other is faster |",
    ]
    assert forms.regret([]) == "no operation had a choice"


def test_the_best_form_is_found_by_one_half_of_the_rounds_and_timed_by_the_other():
    samples = {"a": timing.Sample((1.0, 2.0, 1.0, 2.0)), "b": timing.Sample((2.0, 1.0, 2.0, 1.0))}
    assert forms.regret_of("a", samples) == pytest.approx((1 + 1 / 2) / 2 - 1)
    twice = {"a": timing.Sample((2.0,) * 4), "b": timing.Sample((1.0,) * 4)}
    assert forms.regret_of("a", twice) == pytest.approx(1.0)
    assert forms.regret_of("b", twice) == 0
    assert forms.regret_of("a", {name: timing.Sample(s.seconds[:1]) for name, s in twice.items()}) == 1


def test_a_chosen_form_that_is_wrong_is_named_and_nothing_is_compared_with_it(monkeypatch):
    (case,) = cases.select("tiny", ["max pool"])

    assert all(
        row.status == "timed" for rows in forms.measure([case], rounds=1, seconds=0.01) for row in rows
    )

    def wrong_but_for_the_last(form, problem, operands):
        results = form.compute(problem, *operands)
        return lambda: results if form.name == "unfolded" else jax.tree.map(lambda y: y + 1, results)

    monkeypatch.setattr(forms, "compiled", wrong_but_for_the_last)
    (rows, *_) = forms.measure([case], rounds=1, seconds=0.01)
    assert {row.contender: row.status for row in rows} == {"slices": "wrong", "unfolded": "timed"}
    assert all(row.ratio is None for row in rows)


def test_a_form_that_breaks_ends_neither_the_others_nor_the_run(monkeypatch):
    (case,) = cases.select("tiny", ["max pool"])

    def breaking(form, problem, operands):
        if form.name == "slices":
            raise MemoryError("too large")
        return lambda: form.compute(problem, *operands)

    monkeypatch.setattr(forms, "compiled", breaking)
    (rows, *_) = forms.measure([case], rounds=1, seconds=0.01)
    assert {row.contender: row.status for row in rows} == {"slices": "failed", "unfolded": "timed"}


@on_cpu
def test_on_an_accelerator_forms_are_compiled_in_threads_and_every_one_is_listed(accelerator):
    case = cases.Case("norm", "", Norm("batch"), (2, 8, 2, 3))
    assert {row.contender for row in chain.from_iterable(forms.measure([case], rounds=1, seconds=0.01))} == {
        "slices", "lax",
    }  # fmt: skip
    (case,) = cases.select("tiny", ["convolution"])
    rows = list(chain.from_iterable(forms.measure([case], rounds=1, seconds=0.01)))
    assert {row.contender for row in rows} >= {"lax", "grouped", "phases"}
    assert {row.status for row in rows} == {"timed"}


@on_cpu
def test_the_form_that_tuning_finds_stands_in_for_the_chosen_one(monkeypatch):
    (case,) = cases.select("tiny", ["max pool"])

    def slowest(race):
        return race.listed._replace(form=race.listed.others[-1], others=(race.listed.form,))

    monkeypatch.setattr(forms.Race, "fastest", slowest)
    chosen = [
        {
            row.contender
            for row in chain(*forms.measure([case], rounds=1, seconds=0.01, tuned=tuned))
            if row.note
        }
        for tuned in (False, True)
    ]
    assert chosen == [{"slices"}, {"unfolded"}]


@on_cpu
@pytest.mark.parametrize(
    ("kind", "operation", "names"),
    [("batch", "sum", {"slices", "lax"}), ("layer", "moments", {"lax", "checked", "chained", "shifted"})],
)
def test_sums_and_moments_are_timed_within_their_layer(kind, operation, names):
    case = cases.Case("norm", "", Norm(kind), (2, 8, 2, 3))
    rows = [row for rows in forms.measure([case], rounds=1, seconds=0.01) for row in rows]
    assert all(row.status == "timed" for row in rows)
    of_this = [row for row in rows if row.family == operation]
    assert {row.contender for row in of_this} == names
    assert {row.mode for row in of_this} == {"forward", "both"}


@on_cpu
def test_a_form_is_taken_within_a_layer_by_all_sums_like_this_one():
    case = cases.Case("norm", "", Norm("batch"), (2, 8, 2, 3))
    sums = [op for op in forms.passes(case) if op.primitive.name == "jaxnn_sum"]
    operation = next(op for op in sums if op.invars[0].aval.shape == case.shape)
    assert forms.compiled_within(case, operation, "slices", "forward", "float32")
    other = replace(case, shape=(2, 9, 2, 3))
    assert forms.compiled_within(other, operation, "slices", "forward", "float32") is None


def test_no_case_is_begun_after_the_budget(monkeypatch):
    begun = []
    monkeypatch.setattr(forms, "passes", lambda case, dtype: begun.append(case) or [])
    drawn = shapes.drawn(["pool"], 5, seed=0)
    assert list(forms.measure(drawn, budget=2.5, clock=count().__next__)) == []
    assert begun == drawn[:2]


def test_no_operation_is_begun_after_the_budget(monkeypatch):
    raced, row = [], form("conv", "a", "lax", 1.0)
    monkeypatch.setattr(forms, "raced", lambda case, operation, *args: raced.append(operation) or [row])
    found = forms.measure(shapes.drawn(["conv"], 2, seed=0), budget=3.5, clock=count().__next__)
    assert len(list(found)) == len(raced) == 2  # of the three passes of the first case
