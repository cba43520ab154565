"""The clock: contenders in turn, in one process, every call waited for.

A machine drifts, most of all a shared one. So A, B and C are called A B C C B A A B C …, and what is reported
is the median of each, its quartiles, and the median of the ratios within one round.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

#: Lets the worker threads of the one before go to sleep.
PAUSE = 0.002
#: A sample lasts at least this long: short calls are repeated within it.
SHORTEST = 0.001
#: No contender stops before it has so many samples.
FEWEST = 3


@dataclass(frozen=True)
class Sample:
    """Seconds a call, one figure for each round in which the contender took part."""

    seconds: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.seconds)

    def quartiles(self) -> tuple[float, float, float]:
        """A quarter, half, three quarters of the rounds took no longer than this."""
        q1, median, q3 = np.percentile(self.seconds, (25, 50, 75))
        return float(q1), float(median), float(q3)


def alternate(
    calls: Mapping[str, Callable[[], object]], *, rounds: int = 20, seconds: float = 2.0
) -> dict[str, Sample]:
    """Times every call ``rounds`` times, in turn, forwards and backwards.

    The calls must have been made before (compiled, warm) and must block. One that has used up its ``seconds``
    leaves the rounds once it has a few samples, so that a slow one costs little.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    repeats = {name: _repeats(call) for name, call in calls.items()}
    spent = dict.fromkeys(calls, 0.0)
    for i in range(rounds):
        for name in list(calls)[:: 1 if i % 2 == 0 else -1]:
            if spent[name] > seconds and len(taken[name]) >= min(FEWEST, rounds):
                continue
            time.sleep(PAUSE)
            one = _time(calls[name], repeats[name])
            taken[name].append(one)
            spent[name] += one * repeats[name]
    return {name: Sample(tuple(values)) for name, values in taken.items()}


def ratio(a: Sample, b: Sample) -> tuple[float, float, float]:
    """Quartiles of a's time over b's, round by round."""
    pairs = np.array([x / y for x, y in zip(a.seconds, b.seconds, strict=False)])
    q1, median, q3 = np.percentile(pairs, (25, 50, 75))
    return float(q1), float(median), float(q3)


def _repeats(call: Callable[[], object]) -> int:
    best = _time(call, 1)
    if best < 10 * SHORTEST:  # the first of several may be slow, and so would ask for too few
        best = min(best, *(_time(call, 1) for _ in range(4)))
    return 1 if best >= SHORTEST else min(100, int(SHORTEST / max(best, 1e-6)) + 1)


def _time(call: Callable[[], object], times: int) -> float:
    if times > 1:
        call()  # what a pause has cooled down is no part of a short call
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def time_short(call: Callable[[], object]) -> float:
    """Seconds of a warm call, over as many as make a sample."""
    return _time(call, _repeats(call))


def alternate_clocks(clocks: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, Sample]:
    """Like ``alternate``, for what must be set up anew each time: each clock gives the seconds it took."""
    taken: dict[str, list[float]] = {name: [] for name in clocks}
    for i in range(rounds):
        for name in list(clocks)[:: 1 if i % 2 == 0 else -1]:
            taken[name].append(clocks[name]())
    return {name: Sample(tuple(values)) for name, values in taken.items()}
