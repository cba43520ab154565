"""What is prepared at the same time on an accelerator, as the CPU does it when it is called one."""

from threading import Barrier, Event, get_ident

import pytest

from benchmarks import abreast
from tests.support import on_cpu


def test_results_come_in_order_and_at_the_same_time(accelerator):
    met = Barrier(2, timeout=30)
    assert abreast.results([lambda i=i: (met.wait() >= 0, i) for i in range(2)]) == [(True, 0), (True, 1)]


@on_cpu
def test_on_a_cpu_all_is_done_in_turn_by_one_thread():
    asked = []
    found = abreast.results([get_ident, get_ident], before=[lambda: asked.append(1)])
    assert found == [get_ident()] * 2
    assert not asked


def test_an_exception_of_a_job_is_raised_and_one_of_what_goes_before_is_not(accelerator):
    begun = Event()

    def before():
        begun.set()
        raise ValueError("before")

    assert abreast.results([lambda: begun.wait(30)], before=[before]) == [True]

    def failing():
        raise ValueError("a job")

    with pytest.raises(ValueError, match="a job"):
        abreast.results([failing])


def test_a_value_is_computed_once_whoever_asks(accelerator):
    calls, met = [], Barrier(2, timeout=30)

    def slow(i):
        calls.append(i)
        if i:
            raise ValueError("no such")
        return object()

    once = abreast.Once(slow)

    def ask():
        met.wait()
        return once(0)

    first, second = abreast.results([ask, ask])
    assert first is second
    for _ in range(2):
        with pytest.raises(ValueError, match="no such"):
            once(1)
    assert calls == [0, 1]


@on_cpu
def test_only_the_last_values_stay():
    calls = []
    once = abreast.Once(lambda i: calls.append(i) or i)
    assert [once(i) for i in (0, 1, 0, 2, 0, 1)] == [0, 1, 0, 2, 0, 1]
    assert calls == [0, 1, 2, 1]
