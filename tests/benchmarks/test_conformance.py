"""What is right, wrong, an error, a crash or too slow; every operation has its entry."""

import json
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import catalogue, conformance, machine, record, schema
from benchmarks.conformance import cell, main, measured_by, ulps, units
from benchmarks.record import Row
from benchmarks.worker import Crashed, Failed, TooSlow
from jaxnn import ops
from tests.support import deep

OPS = {op.name: op for op in catalogue.OPS}
#: Each pass once; the rest are deep.
SOME = {
    "dense": ["value", "weight gradient", "second derivative"],
    "max_pool 3×3 s2": ["input gradient", "vmap"],
    "conv grouped strided": ["scan"],
}


def test_every_operation_is_in_the_catalogue_once():
    assert len(OPS) == len(catalogue.OPS)
    words = {word.strip(",") for name in OPS for word in name.split()}
    assert set(ops.__all__) <= words | set(catalogue.WITHOUT_ARRAYS)
    assert all(hasattr(ops, op.function) for op in catalogue.OPS)


@pytest.mark.parametrize("name", [*SOME, *(deep(name) for name in OPS if name not in SOME)])
def test_on_this_machine_all_passes_are_right(name):
    dtypes = {"float32": SOME.get(name, conformance.passes_of(OPS[name], "float32")), "bfloat16": ["value"]}
    dtypes |= {"int32": ["value"]} if OPS[name].integers else {}
    for dtype, chosen in dtypes.items():
        for one in chosen:
            row = Row(**cell(name, one, dtype, "jaxnn", "highest"))
            assert row.status == "right", row


#: What JAX's own form computes in float32, whatever the dtype.
SINGLE = {("attention", "float64"), ("attention causal", "float64")}


@pytest.mark.deep
@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_form_of_jax_alone_means_the_same(name, dtype):
    for one in ("value", "input gradient"):
        row = Row(**cell(name, one, dtype, "lax", "highest"))
        assert row.status == ("wrong" if (name, dtype) in SINGLE else "right"), row


def test_integers_have_values_alone():
    (row,) = (Row(**cell("global_max_pool", "scan", "uint8", form, "highest")) for form in ["jaxnn"])
    assert (row.status, row.error, row.tolerance) == ("right", 0.0, 0.0)
    assert conformance.passes_of(OPS["global_max_pool"], "int8") == ["value", "vmap", "scan"]
    assert conformance.passes_of(OPS["dense"], "int8") == []


def with_ours(monkeypatch, ours):
    changed = replace(OPS["dense"], ours=ours)
    monkeypatch.setattr(catalogue, "OPS", [changed])
    return changed


@pytest.mark.parametrize(
    ("ours", "note"),
    [
        (lambda x, k, b: ops.dense(x, k, b) * 1.001, ""),
        (lambda x, k, b: ops.dense(x, k, b) / 0, "a value is not finite"),
        (lambda x, k, b: ops.dense(x, k, b)[:1], "float32[1, 4] instead of float32[3, 4]"),
        (lambda x, k, b: ops.dense(x, k, b).astype(jnp.bfloat16), "bfloat16[3, 4] instead of float32[3, 4]"),
    ],
)
def test_wrong_is_found(ours, note, monkeypatch):
    with_ours(monkeypatch, ours)
    row = Row(**cell("dense", "value", "float32", "jaxnn", "highest"))
    assert (row.status, row.note) == ("wrong", note)
    assert note or row.error > row.tolerance


def test_where_jax_has_no_form_the_cell_is_unsupported(monkeypatch):
    monkeypatch.setattr(catalogue, "OPS", [replace(OPS["dense"], lax=None, exact=OPS["dense"].lax)])
    assert cell("dense", "value", "float32", "lax", "highest")["status"] == "unsupported"


def test_last_places_are_counted_at_the_largest_value():
    right = np.array([1000.0, 1.0])
    place = 512 * float(jnp.finfo("float32").eps)
    assert ulps(right + np.array([0, 3 * place]), right, "float32") == pytest.approx(3, rel=1e-6)
    assert ulps(right, right, "bfloat16") == 0
    assert ulps(np.array([3.0]), np.array([1.0]), "int32") == 2
    assert ulps(np.array([np.nan]), np.array([1.0]), "float32") == float("inf")
    assert ulps(np.array([1e-30]), np.array([0.0]), "float32") > 1e10  # what must be zero


def test_a_second_derivative_is_that_of_the_gradient_along_a_direction():
    second = conformance.function(lambda x, w: jnp.sum(w * x**3), "second derivative", True)
    x, w, cotangent, direction = jnp.array([2.0]), jnp.array([5.0]), jnp.array(1.0), jnp.array([3.0])
    by_x, by_w = second(x, w, cotangent, direction)
    assert float(by_x[0]) == 5 * 6 * 2 * 3
    assert float(by_w[0]) == 3 * 4 * 3


def outcomes(**by_form):
    def ask(op, name, dtype, form, precision):
        assert precision == "high"
        if isinstance(by_form[form], Exception):
            raise by_form[form]
        status, error = by_form[form]
        return record.as_dict(
            Row(
                "conformance", "dense", op, form, name, dtype=dtype, status=status, error=error, tolerance=9.0
            )
        )

    return ask


@pytest.mark.parametrize(
    ("outcome", "status", "shown"),
    [
        (Crashed("died of SIGSEGV"), "crashed", "crash"),
        (TooSlow("stopped after 60 s"), "too slow", "too slow"),
        (Failed("NotImplementedError: no"), "failed", "error"),
        (("wrong", 4e3), "wrong", "WRONG 4.0e+03"),
        (("right", 0.51), "right", "0.51"),
        (("unsupported", None), "unsupported", "–"),
    ],
)
def test_every_outcome_has_a_word(outcome, status, shown):
    (unit,) = units(["float32"], ["value"], ["dense"])
    rows = measured_by(outcomes(jaxnn=("right", 0.0), lax=outcome), "high")(unit)
    assert [row.status for row in rows] == ["right", status]
    lines = conformance.table(rows).splitlines()
    assert lines[-2:] == ["| dense | float32 | jaxnn | 0 |", f"| dense | float32 | lax | {shown} |"]
    text = conformance.counts(rows)
    assert "jaxnn: 1 of 1 right" in text
    assert ("dense, value, float32" in text) == (status not in ("right", "unsupported"))


def test_the_program_writes_what_it_found_and_fails_if_ours_is_not_right(tmp_path, capsys, monkeypatch):
    arguments = [
        "--here",
        "--only",
        "dense",
        "--dtype",
        "float32",
        "--passes",
        "value",
        "--out",
        str(tmp_path),
    ]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "[1/1, 0:0" in printed
    assert "jaxnn: 1 of 1 right" in printed
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".csv", ".html", ".json"]
    (path,) = tmp_path.glob("*.json")
    assert list(schema.problems(json.loads(path.read_text()))) == []
    with_ours(monkeypatch, lambda x, k, b: ops.dense(x, k, b) + 1)
    assert main(arguments) == 0  # what is measured is not measured again
    assert main([*arguments, "--fresh"]) == 1


def test_what_is_not_there_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--only", "nothing"])
    assert "--only: no operation in these dtypes has one of ['nothing']" in capsys.readouterr().err


def test_one_command_runs_all_of_it_whatever_fails():
    ran = []

    def run(command):
        ran.append(command)
        return int(command[0] == "conformance")

    assert machine.main(["--platform", "cuda", "--out", "x", "--minutes", "2", "--energy"], run) == 1
    assert [command[0] for command in ran] == ["all", "conformance", "sweep"]
    for command in ran:
        assert {"--platform", "cuda", "--out", "x", "--minutes", "2.0"} <= set(command)
    assert machine.main([], lambda command: 0) == 0


def test_arrays_are_the_same_each_time_and_hold_values_of_the_dtype():
    first, again = (conformance.draw(OPS["dense"], "bfloat16") for _ in range(2))
    jax.tree.map(partial(np.testing.assert_array_equal), first, again)
    assert all((array == array.astype(jnp.bfloat16).astype(np.float64)).all() for array in first)
