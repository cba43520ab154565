"""A contender that computes something else is not timed."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import abreast
from benchmarks import race as race_module
from benchmarks.agreement import Answer
from benchmarks.contenders import Contender, OpTask, Program, Unsupported
from benchmarks.contenders.jax_programs import op_program
from benchmarks.contenders.model import Model
from benchmarks.race import Heat, race, races
from benchmarks.record import Row
from benchmarks.specs import Dense
from tests.support import on_cpu

TEMPLATE = Row("ops", "conv", "case", "", "forward", tolerance=1e-4, flops=1000, bytes=1000)
ANSWER = Answer([np.array([1.0, 2.0])])


def contender(name, value):
    """A contender whose program returns ``value``, or raises it."""

    def op(task):
        if isinstance(value, Exception):
            raise value
        return Program(lambda: counts.append(name) or value, lambda result: [np.asarray(result)])

    return Contender(name, op, op)


counts: list[str] = []


def run(**values):
    counts.clear()
    entrants = [contender(name, value) for name, value in values.items()]
    rows = race(
        TEMPLATE,
        entrants,
        lambda entrant: entrant.op(None),
        ANSWER,
        rounds=3,
        seconds=1,
        limit={"flops": 1e9, "bytes": 1e9},
    )
    return {row.contender: row for row in rows}


def test_a_wrong_result_is_reported_and_not_timed():
    rows = run(jaxnn=[1.0, 2.0], other=[1.0, 2.1])
    assert rows["other"].status == "wrong"
    assert "error 5.0e-02" in rows["other"].note
    assert (rows["other"].n, rows["other"].median, rows["other"].ratio) == (0, None, None)
    assert counts.count("other") == 1
    assert counts.count("jaxnn") > 3
    assert rows["jaxnn"].status == "timed"


def test_what_breaks_or_is_missing_says_so_and_the_others_go_on():
    rows = run(jaxnn=[1.0, 2.0], a=ValueError("no such\nthing"), b=Unsupported("no groups"))
    assert (rows["a"].status, rows["a"].note) == ("failed", "ValueError: no such")
    assert (rows["b"].status, rows["b"].note) == ("unsupported", "no groups")
    assert rows["jaxnn"].n == 3


def test_a_timed_row_carries_its_figures():
    rows = run(jaxnn=[1.0, 2.0], other=[1.0, 2.00001])
    row = rows["other"]
    assert row.n == 3
    assert 0 < row.q1 <= row.median <= row.q3
    assert 0 < row.ratio_q1 <= row.ratio <= row.ratio_q3
    assert row.error == pytest.approx(5e-6)
    assert row.limit == pytest.approx(1e-6 / row.median)
    assert rows["jaxnn"].ratio == 1


def test_without_jaxnn_there_are_times_but_no_ratios():
    row = run(other=[1.0, 2.0])["other"]
    assert row.median > 0
    assert row.ratio is None


@pytest.mark.parametrize(("code", "note"), [("add", "the same compiled program: noise"), ("multiply", "")])
def test_who_is_ahead_with_the_same_program_is_only_lucky(code, note, monkeypatch):
    monkeypatch.setattr(race_module, "LEVEL", float("inf"))
    codes = {"jaxnn": "add", "other": code}
    rows = race(
        TEMPLATE,
        [Contender(name, lambda task: None, lambda task: None) for name in codes],
        lambda entrant: Program(lambda: 1, lambda _: ANSWER.arrays, lambda: codes[entrant.name]),
        ANSWER,
        rounds=3,
        seconds=1,
    )
    assert {row.contender: row.note for row in rows} == {"jaxnn": "", "other": note}


def test_code_is_without_names():
    """The same layer of two libraries compiles to one text; another layer to another."""
    one = compiled_text("a", lambda x, w: x @ w["a"] + 1)
    same = compiled_text("b", lambda image, weights: image @ weights["b"] + 1)
    other = compiled_text("a", lambda x, w: x @ w["a"] * 2)
    assert one == same
    assert one != other


def compiled_text(name, function):
    weights = {name: np.ones((2, 2), np.float32)}
    model = Model(lambda weights, state, x, key: (function(x, weights), state), lambda weights: weights)
    x = np.ones((1, 2), np.float32)
    return op_program(model, OpTask(Dense(2), x, weights, x)).code()


def heats(count, made, answered):
    """As many, the first program of each made when ``made`` is told so; the last heat's "a" breaks."""

    def heat(i):
        def make(entrant):
            if entrant.name == "a" and i == count - 1:
                raise ValueError("too large")
            made.append((i, entrant.name))
            return Program(lambda: made.append(i) or [1.0, 2.0], lambda result: [np.asarray(result)])

        def answer():
            answered.append(i)
            return ANSWER

        return Heat(replace(TEMPLATE, case=str(i)), make, abreast.Once(answer))

    return [heat(i) for i in range(count)]


def test_on_an_accelerator_all_programs_of_several_heats_are_made_before_one_is_timed(
    accelerator, monkeypatch
):
    monkeypatch.setattr(abreast, "UNITS", 3)
    made, answered, timed = [], [], []
    alternate = race_module.timing.alternate

    def noted(calls, **settings):
        timed.append((len({entry for entry in made if isinstance(entry, tuple)}), sorted(answered)))
        return alternate(calls, **settings)

    monkeypatch.setattr(race_module.timing, "alternate", noted)
    entrants = [contender(name, None) for name in ("jaxnn", "a", "b")]
    found = list(races(heats(4, made, answered), entrants, rounds=1, seconds=0.01))
    assert timed == [(9, [0, 1, 2])] * 3 + [(11, [0, 1, 2, 3])]
    assert [[(row.case, row.contender) for row in rows] for rows in found] == [
        [(str(i), name) for name in ("jaxnn", "a", "b")] for i in range(4)
    ]
    assert [row.status for rows in found[:3] for row in rows] == ["timed"] * 9
    assert [(row.status, row.note) for row in found[3]] == [
        ("timed", ""), ("failed", "ValueError: too large"), ("timed", ""),
    ]  # fmt: skip


@on_cpu
def test_on_a_cpu_a_heat_is_timed_before_the_next_is_prepared():
    made = []
    rest = races(heats(2, made, []), [contender("jaxnn", None)], rounds=1, seconds=0.01)
    next(rest)
    assert {entry for entry in made if isinstance(entry, tuple)} == {(0, "jaxnn")}
    assert len(list(rest)) == 1


def test_a_heat_that_breaks_while_it_is_timed_ends_neither_the_others_nor_the_run():
    def run(call):
        return race(
            TEMPLATE, [contender("jaxnn", None)],
            lambda _: Program(call, lambda result: [np.asarray(result)]), ANSWER, rounds=1, seconds=0.01,
        )[0]  # fmt: skip

    results = iter([[1.0, 2.0]])
    row = run(lambda: next(results))
    assert (row.status, row.note) == ("failed", "while timed: StopIteration: ")
