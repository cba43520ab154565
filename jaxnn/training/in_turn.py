"""Batches read by the loop that makes the steps, between two of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import Any

#: Seconds that a batch may take to read if no thread is to do it: to hand one over costs a tenth of that.
CHEAP = 1e-3


class in_turn(Iterator[Any]):  # in lower case like prefetch, in whose place it stands
    """An iterator over the same batches, each read when it is asked for.

    The device doesn't wait for that: it is still at work on the steps before, which were only dispatched.

    Args:
      batches: any iterable.
      put: what is done with each.
      reading: told True when a batch is about to be read, which may take any time, and False after it.

    Attributes:
      busy: seconds that reading has taken so far.
    """

    def __init__(self, batches: Iterable[Any], put: Callable[[Any], Any], reading: Callable[[bool], None]):
        self._batches, self._put, self._reading = iter(batches), put, reading
        self.busy = 0.0

    def __next__(self) -> Any:
        start = perf_counter()
        self._reading(True)
        try:
            batch = next(self._batches)
        finally:
            self._reading(False)
        found = self._put(batch)
        self.busy += perf_counter() - start
        return found

    @property
    def waited(self) -> float:
        """Seconds that the loop has waited for batches: all that reading took."""
        return self.busy

    def close(self) -> None:
        """Nothing is left to be done."""
