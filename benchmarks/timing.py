"""The clock: contenders in turn, in one process, every call waited for.

A machine drifts, most of all a shared one. So A, B and C are called A B C C B A A B C …, and what is reported
is the median of each, its quartiles, and the median of the ratios within one round.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

#: Lets the worker threads of the one before go to sleep.
PAUSE = 0.01
#: A sample lasts at least this long, and as many uncounted calls precede it: after a pause a
#: machine needs a while to wake up, and a program with many small steps the longest.
SHORTEST = 0.02
#: Before the rounds each contender is called for at most this many seconds, or fifty times.
SETTLE = 0.3
#: A call that takes longer is not preceded by another.
LONG = 0.1
#: No contender stops before it has this many samples,
FEWEST = 3
#: but a call that takes longer is not made again: what settled it is its sample.
ENDLESS = 10.0


@dataclass(frozen=True)
class Sample:
    """Seconds per call, one figure per round in which the contender took part."""

    seconds: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.seconds)

    def quartiles(self) -> tuple[float, float, float]:
        """A quarter, half, three quarters of the rounds took no longer than this."""
        q1, median, q3 = np.percentile(self.seconds, (25, 50, 75))
        return float(q1), float(median), float(q3)


def alternate(
    calls: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 20,
    seconds: float = 2.0,
    shortest: float = SHORTEST,
    pause: float = PAUSE,
) -> dict[str, Sample]:
    """Times every call ``rounds`` times, in turn, forwards and backwards, with a pause before each sample.

    The calls must have been made before (compiled, warm) and must block. One that has used up its ``seconds``
    leaves the rounds once it has a few samples, and one of more than ``ENDLESS`` after a single call, so that
    a slow one costs little.
    """
    about = {name: settled(call, min(SETTLE, seconds / 4)) for name, call in calls.items()}
    endless = {name: [once] for name, once in about.items() if once > ENDLESS}
    taken: dict[str, list[float]] = {name: [] for name in calls if name not in endless}
    spent = dict.fromkeys(taken, 0.0)
    for i in range(rounds):
        for name in list(taken)[:: 1 if i % 2 == 0 else -1]:
            if spent[name] > seconds and len(taken[name]) >= min(FEWEST, rounds):
                continue
            time.sleep(pause)
            start = time.perf_counter()
            taken[name].append(one_sample(calls[name], about[name], shortest))
            spent[name] += time.perf_counter() - start
    taken |= endless
    return {name: Sample(tuple(taken[name])) for name in calls}


def ratio(a: Sample, b: Sample) -> tuple[float, float, float]:
    """Quartiles of a's time over b's, round by round."""
    pairs = np.array([x / y for x, y in zip(a.seconds, b.seconds, strict=False)])
    q1, median, q3 = np.percentile(pairs, (25, 50, 75))
    return float(q1), float(median), float(q3)


def alternate_clocks(clocks: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, Sample]:
    """Like ``alternate``, for what must be set up anew each time: each clock returns the seconds it took."""
    taken: dict[str, list[float]] = {name: [] for name in clocks}
    for i in range(rounds):
        for name in list(clocks)[:: 1 if i % 2 == 0 else -1]:
            taken[name].append(clocks[name]())
    return {name: Sample(tuple(values)) for name, values in taken.items()}


def settled(call: Callable[[], object], seconds: float = SETTLE) -> float:
    """The best of the calls that fit: thread pools and caches need a while to find their places."""
    best, spent, tries = float("inf"), 0.0, 0
    while tries == 0 or (spent < seconds and tries < 50):
        once = _time(call)
        best, spent, tries = min(best, once), spent + once, tries + 1
    return best


def one_sample(call: Callable[[], object], about: float, shortest: float = SHORTEST) -> float:
    """Seconds of a warm call that takes ``about`` so long, the mean of several if it is short."""
    times = min(1000, int(shortest / max(about, 1e-6)) + 1)
    if about < LONG:
        _time(call, times)
    return _time(call, times)


def _time(call: Callable[[], object], times: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times
