import pytest

from benchmarks import timing
from benchmarks.timing import Queued, Sample, alternate, alternate_clocks, ratio
from tests.support import on_cpu


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when ``advance`` is called."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(timing.time, "sleep", lambda seconds: None)

    def advance(seconds):
        now[0] += seconds

    return advance


def test_contenders_take_turns_forwards_and_backwards(clock):
    order = []

    def call(name):
        order.append(name)
        clock(2 * timing.LONG)  # so long that no uncounted call precedes a sample

    samples = alternate({name: lambda name=name: call(name) for name in "abc"}, rounds=4)
    assert "".join(order[-12:]) == "abccbaabccba"
    assert {name: sample.n for name, sample in samples.items()} == {"a": 4, "b": 4, "c": 4}


def test_every_call_is_measured(clock):
    sample = alternate({"a": lambda: clock(0.25)}, rounds=5)["a"]
    assert sample.seconds == pytest.approx((0.25,) * 5)
    assert sample.quartiles() == pytest.approx((0.25,) * 3)


def test_short_calls_are_repeated_within_a_sample_and_warmed_up(clock):
    calls = []

    def call():
        calls.append(None)
        clock(1e-4)

    sample = alternate({"a": call}, rounds=2)["a"]
    assert sample.seconds == pytest.approx((1e-4,) * 2)
    assert len(calls) > 20


def test_a_slow_contender_leaves_the_rounds_after_a_few_samples(clock):
    samples = alternate({"fast": lambda: clock(0.01), "slow": lambda: clock(5)}, rounds=10, seconds=1)
    assert samples["fast"].n == 10
    assert samples["slow"].n == timing.FEWEST


def test_an_endless_call_is_made_once(clock):
    calls = []

    def endless():
        calls.append(None)
        clock(60)

    samples = alternate({"fast": lambda: clock(0.01), "endless": endless}, rounds=10)
    assert len(calls) == 1
    assert list(samples) == ["fast", "endless"]
    assert samples["endless"].seconds == (60,)
    assert ratio(samples["endless"], samples["fast"]) == pytest.approx((6000,) * 3)


def test_the_ratio_is_taken_round_by_round():
    drifting = [1.0, 2.0, 4.0]
    a, b = Sample(tuple(3 * t for t in drifting)), Sample(tuple(drifting))
    assert ratio(a, b) == pytest.approx((3, 3, 3))


def test_clocks_report_their_own_seconds_and_take_turns():
    order = []

    def clock(name):
        order.append(name)
        return 2.0 if name == "a" else 3.0

    samples = alternate_clocks({name: lambda name=name: clock(name) for name in "ab"}, rounds=2)
    assert order == ["a", "b", "b", "a"]
    assert samples["b"].seconds == (3.0, 3.0)


class Device:
    """Carries out what is queued, each in ``cost`` seconds; to wait for a result takes a second more."""

    def __init__(self, advance, cost):
        self.advance, self.cost, self.begun, self.done, self.waits = advance, cost, 0, 0, 0

    def start(self):
        self.begun += 1
        return self.begun

    def wait(self, result):
        self.waits += 1
        if result > self.done:
            self.advance((result - self.done) * self.cost + 1)
            self.done = result


@on_cpu
def test_on_a_cpu_every_call_is_waited_for(clock):
    device = Device(clock, 0.1)
    call = timing.calling(device.start, device.wait)
    assert not isinstance(call, Queued)
    timing.repeat(call, 3)
    assert (device.done, device.waits) == (3, 3)


def test_on_an_accelerator_the_calls_of_a_sample_are_waited_for_together(clock, accelerator):
    device = Device(clock, 0.1)
    call = timing.calling(device.start, device.wait, ahead=None)
    assert (call(), device.done, device.waits) == (1, 1, 1)
    timing.repeat(call, 50)
    assert (device.done, device.waits) == (51, 2)
    sample = alternate({"a": call}, rounds=2, shortest=20)["a"]
    assert sample.seconds == pytest.approx((0.1 + 1 / timing.repeats(1.1, 20),) * 2)


def test_few_calls_are_ahead_of_what_has_a_result_in_memory(clock, accelerator):
    device = Device(clock, 0.1)
    most = 0
    wait = device.wait

    def watched(result):
        nonlocal most
        most = max(most, device.begun - device.done)
        wait(result)

    timing.repeat(timing.calling(device.start, watched, ahead=4), 50)
    assert device.done == 50
    assert most <= 8


def test_a_call_of_many_times_the_time_of_another_is_not_timed_further(clock):
    calls = []

    def slow():
        calls.append(None)
        clock(1.5)

    settings = {"rounds": 4, "beside": "chosen", "times": 20}
    samples = alternate({"slow": slow, "chosen": lambda: clock(0.05)}, **settings)
    assert len(calls) == 1
    assert list(samples) == ["slow", "chosen"]
    assert samples["slow"].seconds == (1.5,)
    assert samples["chosen"].n == 4
    assert alternate({"slow": slow, "chosen": lambda: clock(0.08)}, **settings)["slow"].n > 1


def test_a_short_call_is_tried_twice_before_it_is_called_slow(clock):
    seconds = iter([0.09, *[0.001] * 1000])
    calls = {"chosen": lambda: clock(0.001), "hindered": lambda: clock(next(seconds))}
    samples = alternate(calls, rounds=2, beside="chosen", times=20)
    assert samples["hindered"].seconds == pytest.approx((0.001,) * 2)
