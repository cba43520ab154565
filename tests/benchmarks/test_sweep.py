"""Shapes of a file, of known nets and drawn at random; what is said of them at the end."""

from dataclasses import replace
from itertools import chain
from math import prod

import jax
import pytest

from benchmarks import cases, forms, shapes, sweep, timing
from benchmarks.record import Row
from benchmarks.specs import Conv, Norm, Pool, Recurrent, Resize
from tests.support import on_cpu

TOML = """
dtypes = ["float32", "bfloat16"]
[[case]]
op = "conv"
shape = [8, 32, 32, 64]
features = 128
window = 3
strides = 2
padding = 1
[[case]]
op = "lstm"
name = "mine"
shape = [32, 128, 64]
features = 256
dtypes = ["float32"]
"""
CSV = """op,shape,dtypes,features,window,strides,padding,groups,method,scale
conv,8x32x32x64,float32 bfloat16,64,3,,1,64,,
max_pool,8×32×32×64,,,2,2,,,,
resize,2x8x8x4,,,,,,,linear,1.5
batch_norm,2x8x8x4,,,,,,,,
"""


def written(tmp_path, text, name="shapes.toml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_cases_of_a_toml_file(tmp_path):
    (conv, both), (lstm, one) = shapes.read(written(tmp_path, TOML))
    assert (conv.family, conv.spec, conv.shape) == ("conv", Conv(3, 2, 1, features=128), (8, 32, 32, 64))
    assert (both, one) == (("float32", "bfloat16"), ("float32",))
    assert (lstm.name, lstm.spec) == ("mine", Recurrent("lstm", 256))


def test_cases_of_a_csv_file(tmp_path):
    found = shapes.read(written(tmp_path, CSV, "shapes.csv"))
    assert [(case.family, case.spec, dtypes) for case, dtypes in found] == [
        ("depthwise", Conv(3, padding=1, features=64, groups=64), ("float32", "bfloat16")),
        ("pool", Pool(2, 2, kind="max"), ("float32",)),
        ("resize", Resize(1.5, "linear"), ("float32",)),
        ("norm", Norm("batch"), ("float32",)),
    ]
    assert found[2][0].spec.out((2, 8, 8, 4)) == (2, 12, 12, 4)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[[case]]\nop = 'cnov'\nshape = [1]", "case 1: op must be one of dense, conv, .*, got 'cnov'"),
        ("[[case]]\nop = 'conv'\nshape = [1, 0]", "case 1: shape must be a list of positive integers, got"),
        (
            "[[case]]\nop = 'relu'\nshape = [2]\ndtypes = ['f4']",
            r"dtypes must be of float32, bfloat16, got \['f4'\]",
        ),
        ("[[case]]\nop = 'relu'\nshape = [2]\nwindow = 2", "relu must have settings of none, got window"),
        (
            "[[case]]\nop = 'conv'\nshape = [1, 4, 4, 2]\nwidow = 2",
            "conv must have settings of window, strides, padding, dilation, features, groups, got widow",
        ),
        (
            "[[case]]\nop = 'conv'\nshape = [1, 4, 4, 2]",
            r"conv must fit the shape \[1, 4, 4, 2\], got {} \(.*window",
        ),
        (
            "[[case]]\nop = 'conv'\nshape = [1, 4, 4, 2]\nwindow = 7\nfeatures = 3",
            r"conv must fit the shape \[1, 4, 4, 2\], got {'window': 7, 'features': 3}",
        ),
        (
            "[[case]]\nop = 'max_pool'\nshape = [1, 4, 4, 2]\nwindow = 2\nkind = 'avg'",
            "max_pool must have settings of",
        ),
        ("cases = 3", "must hold dtypes and .*alone, got cases"),
        ("", "must hold at least one case"),
        ("[[case", "not TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_place(text, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        shapes.read(written(tmp_path, text))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.toml or \.csv"):
        shapes.read(written(tmp_path, "", "shapes.txt"))
    with pytest.raises(ValueError, match="cannot be read"):
        shapes.read(tmp_path / "nothing.toml")


@pytest.mark.parametrize("family", shapes.RANDOM)
def test_random_cases_fit_and_are_not_too_large(family):
    for case in shapes.drawn([family], 30, seed=5):
        out = case.spec.out(case.shape)
        assert min(out) > 0
        assert max(prod(case.shape), prod(out)) <= shapes.MOST_VALUES
        assert case.spec.flops(case.shape) <= shapes.MOST_OPERATIONS
        assert all(size > 0 for shape in case.spec.weights(case.shape).values() for size in shape)


def test_random_cases_depend_on_family_number_and_seed_alone():
    both = shapes.drawn(["conv", "pool"], 3, seed=1)
    assert [case.family for case in both] == ["conv", "pool"] * 3
    assert both[1::2] == shapes.drawn(["pool"], 3, seed=1) == shapes.drawn(["pool"], 9, seed=1)[:3]
    assert both[1::2] != shapes.drawn(["pool"], 3, seed=2)


@pytest.mark.parametrize("name", shapes.SETS)
def test_the_layers_of_a_net_are_cases_once_each(name):
    cases = shapes.SETS[name]()
    assert len(set(cases)) == len(cases) >= 3
    assert all(min(case.spec.out(case.shape)) > 0 for case in cases)


def row(contender, ratio, case="a", family="conv"):
    return Row("ops", family, case, contender, "both", median=1.0, ratio=ratio)


def test_the_summary_says_where_another_is_ahead():
    rows = [
        row("jaxnn", 1.0),
        row("lax", 4.0),
        row("jaxnn", 1.0, "b"),
        row("lax", 0.25, "b"),
        row("lax", 9.0, "c", "pool"),
    ]
    text = sweep.summary(rows)
    assert "| conv | forward+backward | float32 | lax | 2 | 1.00 | 0.25 | 1 |" in text
    assert "| pool | forward+backward | float32 | lax | 1 | 9.00 | 9.00 | 0 |" in text
    assert "| all | forward+backward | float32 | lax | 3 | 2.08 | 0.25 | 1 |" in text


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
def test_a_sum_is_timed_within_its_layer():
    case = cases.Case("norm", "", Norm("batch"), (2, 8, 2, 3))
    rows = [row for rows in forms.measure([case], rounds=1, seconds=0.01) for row in rows]
    assert {(row.mode, row.contender) for row in rows if row.family == "sum"} == {
        (mode, form) for mode in ("forward", "both") for form in ("slices", "lax")
    }
    assert all(row.status == "timed" for row in rows)


@on_cpu
def test_a_form_is_taken_within_a_layer_by_all_sums_like_this_one():
    case = cases.Case("norm", "", Norm("batch"), (2, 8, 2, 3))
    sums = [op for op in forms.passes(case) if op.primitive.name == forms.SUM]
    operation = next(op for op in sums if op.invars[0].aval.shape == case.shape)
    assert forms.compiled_within(case, operation, "slices", "forward", "float32")
    other = replace(case, shape=(2, 9, 2, 3))
    assert forms.compiled_within(other, operation, "slices", "forward", "float32") is None


class Clock:
    now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


def test_no_case_is_begun_after_the_budget(monkeypatch):
    cases = shapes.drawn(["pool"], 5, seed=0)
    monkeypatch.setattr(forms, "passes", lambda case, dtype: [])
    begun = []
    monkeypatch.setattr(sweep.ops, "measure", lambda cases, *args, **more: begun.append(cases) or [])
    chosen = [(case, ("float32",)) for case in cases]
    assert list(sweep.measure(chosen, [], budget=2.5, clock=Clock())) == []
    assert begun == [[case] for case in cases[:2]]
    assert list(forms.measure(cases, budget=2.5, clock=Clock())) == []


def test_no_operation_is_begun_after_the_budget(monkeypatch):
    raced = []
    monkeypatch.setattr(
        forms, "raced", lambda case, operation, *args: raced.append(operation) or [row("lax", 1.0)]
    )
    found = forms.measure(shapes.drawn(["conv"], 2, seed=0), budget=3.5, clock=Clock())
    assert len(list(found)) == len(raced) == 2  # of the three passes of the first case


def test_a_sweep_of_a_file_and_its_regret(tmp_path, capsys):
    path = written(tmp_path, "[[case]]\nop = 'max_pool'\nshape = [2, 6, 6, 2]\nwindow = 2\nstrides = 2")
    few = ["--repeats", "1", "--seconds", "0.01", "--out", str(tmp_path / "out")]
    run = sweep.main([str(path), "--mode", "forward", *few])
    assert [(row.contender, row.status, row.mode) for row in run.rows] == [
        ("jaxnn", "timed", "forward"), ("lax", "timed", "forward"),
    ]  # fmt: skip
    assert "| pool | forward | float32 | lax | 1 |" in capsys.readouterr().out
    regrets = sweep.main([str(path), "--regret", *few])
    assert {row.program for row in regrets.rows} == {"forms"}
    assert "| all |" in capsys.readouterr().out


def test_a_sweep_of_nothing_is_refused(capsys):
    with pytest.raises(SystemExit):
        sweep.main([])
    assert "name a FILE, --sets or --random" in capsys.readouterr().err
