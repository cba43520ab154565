"""Each program runs at a tiny size and leaves JSON of the right form. No time is ever asserted."""

import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from benchmarks import compare, ops, overhead, record, report, schema, training
from benchmarks.record import Row, Run
from tests.support import deep

ROOT = Path(__file__).parent.parent.parent
FEW = ["--contenders", "jaxnn", "lax", "--repeats", "2", "--seconds", "0.1"]


def saved(folder: Path) -> dict:
    """The only file in the folder, which must hold what every run must."""
    (path,) = folder.glob("*.json")
    found = json.loads(path.read_text())
    assert found.keys() == {f.name for f in fields(Run)}
    assert list(schema.problems(found)) == []
    conditions = found["environment"]
    for name in (
        "device",
        "platform",
        "threads",
        "python",
        "system",
        "versions",
        "date",
        "command",
        "options",
    ):
        assert conditions[name], name
    assert "jax" in conditions["versions"]
    for row in found["rows"]:
        assert row.keys() == {f.name for f in fields(Row)}
        assert row["status"] in ("timed", "wrong", "failed", "unsupported")
        if row["status"] == "timed":
            assert row["n"] >= 1
            assert 0 < row["q1"] <= row["median"] <= row["q3"]
    return found


@pytest.mark.parametrize("cases", [["dense"], deep(["dense", "dropout"])], ids="-".join)
def test_ops(cases, tmp_path, capsys):
    ops.main(["--shapes", "tiny", "--only", *cases, *FEW, "--out", str(tmp_path)])
    found = saved(tmp_path)
    assert found["limits"].keys() == {"float32", "bfloat16"}
    rows = found["rows"]
    assert len(rows) == len(cases) * 2 * 2 * 2 * 2
    assert {row["status"] for row in rows} == {"timed"}
    assert {(row["mode"], row["place"]) for row in rows} == {
        (mode, place) for mode in ops.MODES for place in ops.PLACES
    }
    for row in rows:
        assert row["error"] <= row["tolerance"]
        assert row["ratio"] > 0
        assert row["limit"] > 0
        assert row["bytes"] > 0
    printed = capsys.readouterr().out
    assert "dense · dense, 2×5 · forward+backward · in a scan, a step · bfloat16" in printed


def test_training(tmp_path, capsys):
    training.main(["--shapes", "tiny", "--only", "mlp", "--steps", "2", *FEW, "--out", str(tmp_path)])
    rows = saved(tmp_path)["rows"]
    assert [(row["contender"], row["place"]) for row in rows] == [
        ("jaxnn", "top"), ("lax", "top"), ("jaxnn", "epoch"), ("lax", "epoch"),
    ]  # fmt: skip
    assert all(row["status"] == "timed" and row["examples"] == 4 and row["flops"] > 0 for row in rows)
    assert "examples/s" in capsys.readouterr().out


@pytest.mark.parametrize("program", ["ops", "training"])
def test_as_on_an_accelerator(program, tmp_path, accelerator):
    """Programs prepared in threads, calls queued: the same rows."""
    main, more = {
        "ops": (ops.main, ["--dtype", "float32", "--only", "dense"]),
        "training": (training.main, ["--only", "mlp", "--steps", "2"]),
    }[program]
    main(["--shapes", "tiny", *more, *FEW, "--out", str(tmp_path)])
    found = saved(tmp_path)
    assert found["environment"]["calls"] == "queued"
    assert {row["status"] for row in found["rows"]} == {"timed"}
    assert [row["contender"] for row in found["rows"]] == ["jaxnn", "lax"] * (len(found["rows"]) // 2)


@pytest.mark.parametrize("modes", [("trace", "call"), deep(overhead.MODES)], ids=["two modes", "all modes"])
def test_overhead(modes, tmp_path):
    options = ["--depth", "2", "--contenders", "jaxnn", "lax", "--repeats", "1", "--mode", *modes]
    overhead.main([*options, "--out", str(tmp_path)])
    rows = saved(tmp_path)["rows"]
    assert {row["mode"] for row in rows} == set(modes)
    assert {row["family"] for row in rows} == {"deep", "wide"} | {"import"} & set(modes)
    assert {row["contender"] for row in rows} == {"jaxnn", "lax", "jaxnn repeat"}


def test_report_and_compare_read_a_run_of_all(tmp_path, capsys):
    few = [
        "--shapes",
        "tiny",
        "--only",
        "dense",
        "--dtype",
        "float32",
        "--mode",
        "both",
        "--place",
        "top",
        *FEW,
    ]
    run = replace(ops.main([*few, "--out", str(tmp_path / "parts")]), program="all")
    path = run.save(tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.START}\nold\n{report.END}\nafter\n")
    report.main(["--results", str(tmp_path), "--charts", "--insert", str(readme)])
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "lax ÷ jaxnn" in text
    assert "](operations-" in text
    assert compare.main([str(path), str(path)]) == 0


def test_a_program_starts_from_the_command_line(tmp_path):
    command = [sys.executable, "-m", "benchmarks.ops", "--only", "no such case", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--only: no case of these shapes has one of ['no such case']" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_run_raises_a_sentence(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("[]")
    with pytest.raises(ValueError, match="not a run of these benchmarks, version 1 to 3"):
        record.load(path)
    path.write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        record.load(path)
