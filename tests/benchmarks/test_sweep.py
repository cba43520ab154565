"""Shapes of a file, of known nets and drawn at random; what is said of them at the end."""

from itertools import count
from math import prod

import pytest

from benchmarks import shapes, sweep
from benchmarks.record import Row
from benchmarks.specs import Conv, Norm, Pool, Recurrent, Resize

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


def test_no_case_is_begun_after_the_budget(monkeypatch):
    cases = shapes.drawn(["pool"], 5, seed=0)
    begun = []
    monkeypatch.setattr(sweep.ops, "measure", lambda cases, *args, **more: begun.append(cases) or [])
    chosen = [(case, ("float32",)) for case in cases]
    assert list(sweep.measure(chosen, [], budget=2.5, clock=count().__next__)) == []
    assert begun == [[case] for case in cases[:2]]


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
