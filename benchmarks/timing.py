"""The clock: contenders in turn, in one process, every call waited for.

On an accelerator, where to wait costs as much as a small kernel, the calls of a sample are queued and waited
for together, as in a training loop.

A machine drifts, most of all a shared one. So A, B and C are called A B C C B A A B C …, and what is reported
is the median of each, its quartiles, and the median of the ratios within one round.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import environment

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
#: Before the rounds queued calls are waited for so many at a time.
FEW = 10
#: After so many more calls an earlier one is waited for, since each has a result of its own in memory.
AHEAD = 16


@dataclass(frozen=True)
class Queued:
    """A call in two halves, of which many can be begun before one is waited for. Called, it does both.

    Attributes:
      start: begins the work and returns its result.
      wait: waits for a result, and with it for all that was begun before.
      ahead: after as many more calls the result of one is waited for; None where results need no memory of
        their own.
    """

    start: Callable[[], Any]
    wait: Callable[[Any], object]
    ahead: int | None = AHEAD

    def __call__(self) -> Any:
        result = self.start()
        self.wait(result)
        return result

    def several(self, times: int) -> None:
        """As many calls, the last waited for."""
        result = earlier = None
        for i in range(times):
            result = self.start()
            if self.ahead and i % self.ahead == 0:
                if i:
                    self.wait(earlier)
                earlier = result
        self.wait(result)


def calling(
    start: Callable[[], Any], wait: Callable[[Any], object], ahead: int | None = AHEAD
) -> Callable[[], Any]:
    """A call that waits for its result; on an accelerator one that can be ``Queued``."""
    call = Queued(start, wait, ahead)
    return call if environment.accelerator() else call.__call__


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
    beside: str | None = None,
    times: float = float("inf"),
) -> dict[str, Sample]:
    """Times every call ``rounds`` times, in turn, forwards and backwards, with a pause before each sample.

    The calls must have been made before (compiled, warm) and must block. One that has used up its ``seconds``
    leaves the rounds once it has a few samples, and one of more than ``ENDLESS`` after a single call, so that
    a slow one costs little. So does one that takes more than ``times`` as long as the one called ``beside``.
    """
    about: dict[str, float] = {}
    longest = ENDLESS
    for name in sorted(calls, key=lambda name: name != beside):
        about[name] = settled(calls[name], min(SETTLE, seconds / 4), longest)
        longest = min(ENDLESS, times * about[name]) if name == beside else longest
    endless = {name: [once] for name, once in about.items() if once > longest}
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


def settled(call: Callable[[], object], seconds: float = SETTLE, longest: float = float("inf")) -> float:
    """The best of the calls that fit: thread pools and caches need a while to find their places.

    One that takes longer than ``longest`` is made once; twice if it is short, since chance may have made it
    slow.
    """
    best, spent, tries = float("inf"), 0.0, 0
    while tries == 0 or (spent < seconds and tries < 50):
        times = min(FEW, int(LONG / FEW / max(best, 1e-6)) + 1) if isinstance(call, Queued) else 1
        once = _time(call, times)
        best, spent, tries = min(best, once), spent + times * once, tries + 1
        if best > longest and (tries > 1 or best > LONG):
            break
    return best


def one_sample(call: Callable[[], object], about: float, shortest: float = SHORTEST) -> float:
    """Seconds of a warm call that takes ``about`` so long, the mean of several if it is short."""
    times = repeats(about, shortest)
    if about < LONG:
        _time(call, times)
    return _time(call, times)


def repeats(about: float, shortest: float = SHORTEST) -> int:
    """How many calls of ``about`` so many seconds fill a sample."""
    return min(1000, int(shortest / max(about, 1e-6)) + 1)


def repeat(call: Callable[[], object], times: int) -> None:
    """As many calls: each waited for, or the last of those that can be ``Queued``."""
    if isinstance(call, Queued):
        call.several(times)
        return
    for _ in range(times):
        call()


def _time(call: Callable[[], object], times: int = 1) -> float:
    start = time.perf_counter()
    repeat(call, times)
    return (time.perf_counter() - start) / times
