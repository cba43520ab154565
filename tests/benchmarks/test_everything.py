"""``python -m benchmarks all``: what is measured first, the budget, going on after an end of any kind."""

import json
from pathlib import Path

import pytest

from benchmarks import __main__ as programs
from benchmarks import everything, journal, limits, plan, record, schema
from benchmarks.everything import isolated, with_ratios
from benchmarks.journal import Journal, blank, measured
from benchmarks.plan import Unit
from benchmarks.record import Row, Run
from benchmarks.worker import Crashed, Failed, TooSlow

CONDITIONS = {
    "device": "Device 1", "platform": "cpu", "threads": 2, "python": "3.11", "system": "Linux",
    "versions": {"jax": "1"}, "revision": None, "xla_flags": "", "date": "2026-01-02T03:04:05Z",
    "command": "python -m benchmarks all", "options": {"contenders": "None", "shapes": "all"},
}  # fmt: skip


class Clock:
    """Shows what it is told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def unit(case="a", program="ops"):
    return Unit((program, "conv", case, "both", "top", "float32"), None)


def row(of, contender="jaxnn", median=1.0, **more):
    program, family, case, mode, place, dtype = of.group
    figures = {"n": 1, "q1": 0.9 * median, "median": median, "q3": 1.1 * median}
    return Row(program, family, case, contender, mode, place, dtype, **(figures | more))


def begun(folder, **progress):
    return Journal(Run("all", CONDITIONS, {}, progress={"planned": 3, "done": [], **progress}), folder)


def taking(clock, seconds):
    """A measurement of one row that takes so long."""

    def measure(unit):
        clock.now += seconds
        return [row(unit)]

    return measure


def run(units, into, measure, clock, seconds=100.0):
    return list(measured(units, into, measure, seconds=seconds, entrants=["jaxnn", "lax"], clock=clock))


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
def test_the_plan_begins_with_one_case_of_each_family_and_has_no_unit_twice(platform):
    units = plan.units(platform)
    assert len({unit.name for unit in units}) == len(units)
    operations = [unit for unit in units if unit.program == "ops"]
    families = {unit.family for unit in operations}
    assert {unit.family for unit in operations[: len(families)]} == families
    first = units[: 3 * len(families)]
    assert {unit.program for unit in first} == {"ops", "training", "overhead"}
    assert any("ResNet-18" in unit.family for unit in first) == (platform == "cuda")


def test_large_shapes_come_first_on_an_accelerator_and_not_at_all_on_a_cpu():
    titles = [unit.group[2] for unit in plan.units("cuda", only=["u-net"]) if unit.program == "training"]
    assert list(dict.fromkeys(titles))[:2] == ["U-Net, batch 64×64×64×3", "U-Net, batch 8×64×64×3"]
    conv = [unit.group[2] for unit in plan.units("cuda", only=["64 → 128"]) if unit.group[1] == "conv"]
    assert conv[0] == "ResNet 3×3 s2, 64 → 128, 256×32×32×64"
    assert not any("256×32×32×64" in unit.name for unit in plan.units("cpu"))
    assert all("256" in unit.name for unit in plan.units("cpu", shapes="large", only=["3×3 s2, 64 → 128"]))


def test_the_plan_can_be_cut_down():
    names = [unit.name for unit in plan.units("cpu", shapes="small", only=["u-net"])]
    assert "training/U-Net, small/U-Net, small, batch 4×16×16×3/step/top/float32" in names
    assert all("U-Net" in name for name in names)
    assert plan.units("cpu", only=["nothing like it"]) == []


def test_a_budget_ends_before_the_unit_that_would_exceed_it(tmp_path):
    clock, into = Clock(), begun(tmp_path)
    units = [unit(case) for case in "abcd"]
    found = run(units, into, taking(clock, 10), clock, seconds=25)
    assert [(u.group[2], gone, left) for u, _, gone, left in found] == [("a", 10, 15), ("b", 20, 5)]
    assert record.load(tmp_path / f"{into.run.stem}.json").rows == into.run.rows
    again = run(units, into, taking(clock, 1), clock)
    assert [u.group[2] for u, *_ in again] == ["c", "d"]
    assert [left for *_, left in again] == [1, 0]


def test_what_takes_long_leaves_the_rest_of_the_budget_to_others(tmp_path):
    clock = Clock()
    seconds = {"training": 10, "ops": 1}

    def measure(unit):
        clock.now += seconds[unit.program]
        return [row(unit)]

    units = [unit("a", "training"), unit("b"), unit("c", "training"), unit("d")]
    found = run(units, begun(tmp_path), measure, clock, seconds=15)
    assert [u.group[2] for u, *_ in found] == ["a", "b", "d"]


def test_an_interrupted_unit_is_measured_again(tmp_path):
    into = begun(tmp_path)

    def interrupted(unit):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([unit()], into, interrupted, Clock())
    back = record.load(into.save())
    assert back.progress["done"] == []
    assert back.progress["attempts"] == {}
    ((_, rows, *_),) = run([unit()], Journal(back, tmp_path), taking(Clock(), 1), Clock())
    assert len(rows) == 1


def test_a_unit_in_which_the_process_died_twice_is_left_out(tmp_path):
    into = begun(tmp_path)

    def dying(unit):  # the file already says what is being measured
        assert record.load(into.run.save(tmp_path)).progress["attempts"] == {unit.name: into.attempts(unit)}
        raise SystemExit

    for _ in range(journal.ATTEMPTS):
        with pytest.raises(SystemExit):
            run([unit()], into, dying, Clock())
    ((_, rows, *_),) = run([unit()], into, dying, Clock())
    assert [(row.contender, row.status) for row in rows] == [("jaxnn", "crashed"), ("lax", "crashed")]
    assert rows[0].note == "the process died here 2 times; --isolate finds out in whom"
    assert into.done == {unit().name}


def test_an_exception_ends_one_unit(tmp_path):
    def failing(unit):
        raise MemoryError("too large")

    ((_, rows, *_), _) = run([unit("a"), unit("b")], begun(tmp_path), failing, Clock())
    assert [(row.status, row.note) for row in rows] == [("failed", "MemoryError: too large")] * 2


def test_a_run_goes_on_only_under_the_same_conditions(tmp_path):
    begun(tmp_path).save()
    newer = {**CONDITIONS, "date": "2027-01-01T00:00:00Z"}
    assert journal.opened("all", tmp_path, newer).run.environment["date"] == CONDITIONS["date"]
    assert journal.opened("all", tmp_path, newer, fresh=True) is None
    assert journal.opened("all", tmp_path, {**newer, "versions": {"jax": "2"}}) is None
    assert journal.opened("all", tmp_path, {**newer, "options": {"shapes": "tiny"}}) is None
    assert journal.opened("all", tmp_path / "nothing", newer) is None


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = begun(tmp_path).save()
    before = path.read_text()

    def full(descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr(record.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        begun(tmp_path, spent=1.0).save()
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


class FakeWorker:
    def __init__(self, outcome):
        self.outcome, self.closed = outcome, 0

    def ask(self, call, *, timeout, unit, contender, **settings):
        assert (call, timeout, settings) == ("everything:rows_of", 7, {"rounds": 2})
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return [record.as_dict(self.outcome)]

    def close(self):
        self.closed += 1


@pytest.mark.parametrize("exclusive", [False, True])
def test_isolated_contenders_fail_alone(exclusive):
    workers = {
        "jaxnn": FakeWorker(row(unit(), median=2.0)),
        "lax": FakeWorker(row(unit(), "lax", median=6.0)),
        "flax": FakeWorker(Crashed("died of SIGSEGV")),
        "haiku": FakeWorker(TooSlow("stopped after 7 s")),
        "torch": FakeWorker(Failed("ImportError: no")),
    }
    rows = isolated(workers, timeout=7, exclusive=exclusive, rounds=2)(unit())
    assert [(row.contender, row.status, row.note) for row in rows] == [
        ("jaxnn", "timed", ""), ("lax", "timed", ""), ("flax", "crashed", "died of SIGSEGV"),
        ("haiku", "too slow", "stopped after 7 s"), ("torch", "failed", "ImportError: no"),
    ]  # fmt: skip
    assert rows[1].ratio == pytest.approx(3)
    assert rows[1].ratio_q1 == pytest.approx(5.4 / 2.2)
    assert [worker.closed for worker in workers.values()] == [exclusive] * 5


def test_rows_timed_apart_have_no_ratio_without_ours():
    (alone,) = with_ratios([row(unit(), "lax")])
    assert alone.ratio is None


def test_all_of_it_goes_on_where_it_stopped(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(limits, "everything", lambda shapes: {"dispatch": {"seconds": 1e-6}})
    few = ["--shapes", "tiny", "--only", "dense", "--contenders", "jaxnn", "lax", "--repeats", "1"]
    arguments = ["all", *few, "--seconds", "0.01", "--out", str(tmp_path), "--minutes"]
    first = programs.main([*arguments, "1e-6"])
    assert first.rows == ()
    assert "0 of 8 units measured" in capsys.readouterr().out
    second = programs.main([*arguments, "inf"])
    printed = capsys.readouterr().out
    assert f"going on with {first.stem}: 0 of 8 units are measured" in printed
    assert "[8/8, 0:" in printed
    assert "dense · dense, 2×5 · forward+backward · float32: jaxnn" in printed
    assert "8 of 8 units measured, 16 rows: 16 timed" in printed
    assert {row.group[3:] for row in second.rows} == {
        (mode, place, dtype)
        for mode in ("forward", "both") for place in ("top", "scan") for dtype in ("float32", "bfloat16")
    }  # fmt: skip
    (found,) = tmp_path.glob("*.json")
    assert record.load(found) == second
    table = found.with_suffix(".csv").read_text().splitlines()
    assert table[0].startswith("program,family,case,contender,mode,")
    assert len(table) == 17
    assert list(schema.problems(json.loads(found.read_text()))) == []


def test_the_programs_are_named(capsys):
    with pytest.raises(
        SystemExit, match=r"the program must be one of all, machine, conformance, .*, got nothing"
    ):
        programs.main(["nothing"])
    for module in programs.PROGRAMS.values():
        assert Path(everything.__file__).with_name(f"{module}.py").exists()


def test_what_was_not_timed_is_said_in_the_line():
    rows = [row(unit(), limit=0.5), row(unit(), "lax", 2.0, ratio=2.0)]
    rows.append(blank(unit(), "flax", "crashed", "died"))
    assert everything.line(unit(), rows).split(": ", 1) == [
        "conv · a · forward+backward · float32",
        "jaxnn 1.00 s (50% of limit), lax 2.00 s (×2.00), flax crashed (died)",
    ]
