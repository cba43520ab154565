"""Compares outputs before anything is timed: a contender that computes something else is not timed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: The largest error allowed, over the largest value of the array. Half-precision sums may be rounded at each
#: step, and accelerators multiply float32 in fewer bits unless set otherwise.
TOLERANCES = {
    ("float32", "cpu"): 1e-4,
    ("float32", "accelerator"): 2e-2,
    ("bfloat16", "cpu"): 6e-2,
    ("bfloat16", "accelerator"): 6e-2,
}
#: So many values are compared at a time, in a cache: arrays of a hundred megabytes take seconds otherwise.
BLOCK = 2**16
#: How far the share of dropped values may lie from the rate, in standard deviations.
DEVIATIONS = 6.0


class Wrong(Exception):
    """The outputs differ from the reference; the text says by how much."""


@dataclass(frozen=True)
class Answer:
    """What a contender must give, in float64: the output, then each gradient.

    ``rate`` is for dropout, whose zeros fall anywhere: they are only counted.
    """

    arrays: Sequence[np.ndarray]
    rate: float = 0.0


def tolerance(dtype: str, platform: str) -> float:
    """The largest error over the largest value that passes."""
    return TOLERANCES[dtype, "cpu" if platform == "cpu" else "accelerator"]


def check(results: Sequence[np.ndarray], answer: Answer, allowed: float) -> float:
    """The worst array's largest error over its largest value; raises ``Wrong`` above ``allowed``."""
    if len(results) != len(answer.arrays):
        raise Wrong(f"{len(results)} arrays instead of {len(answer.arrays)}")
    worst = 0.0
    for result, expected in zip(results, answer.arrays, strict=True):
        if result.shape != expected.shape:
            raise Wrong(f"shape {result.shape} instead of {expected.shape}")
        if answer.rate:
            _count_dropped(result, answer.rate)
        worst = max(worst, _error(np.ravel(result), np.ravel(expected), dropped=answer.rate > 0))
    if worst > allowed:
        raise Wrong(f"error {worst:.1e} of the largest value, {allowed:.0e} is allowed")
    return worst


def _error(result: np.ndarray, expected: np.ndarray, *, dropped: bool) -> float:
    """The largest error over the largest value; zeros are right where some are ``dropped``."""
    error = largest = 0.0
    for i in range(0, result.size, BLOCK):
        found, right = (np.asarray(a[i : i + BLOCK], np.float64) for a in (result, expected))
        if not np.isfinite(right).all():
            raise Wrong("a value of the answer is not finite")
        difference = float(np.max(np.abs(found - right), where=found != 0 if dropped else True, initial=0.0))
        if not np.isfinite(difference):
            raise Wrong("a value is not finite")
        error, largest = max(error, difference), max(largest, float(np.max(np.abs(right))))
    return error / max(largest, 1e-30)


def _count_dropped(values: np.ndarray, rate: float) -> None:
    share = float(np.mean(values == 0))
    deviation = (rate * (1 - rate) / values.size) ** 0.5
    if abs(share - rate) > DEVIATIONS * deviation:
        raise Wrong(f"{share:.3f} of the values are dropped, at a rate of {rate}")
