"""What is prepared at the same time: on an accelerator compilation takes most of a run, and cores stand by.

On a CPU, which is what is measured there, all is done one after the other.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Generic, TypeVar

from benchmarks import environment

#: So many units are prepared together on an accelerator, and then timed.
UNITS = 8
#: Processors left to the compiler's own threads and to the one that waits.
SPARE = 2

T = TypeVar("T")


def units() -> int:
    """How many units are prepared together on this platform."""
    return UNITS if environment.accelerator() else 1


def threads() -> int:
    """How many jobs are carried out at the same time on an accelerator."""
    return max(2, environment.threads() - SPARE)


def results(jobs: Iterable[Callable[[], T]], before: Sequence[Callable[[], object]] = ()) -> list[T]:
    """What the jobs return, in order; at the same time on an accelerator.

    Args:
      jobs: an exception of one of them is raised.
      before: what several jobs need and will ask for themselves; on an accelerator begun before them, so that
        it is ready sooner. What it returns or raises is left to them.
    """
    if not environment.accelerator():
        return [job() for job in jobs]
    pool = ThreadPoolExecutor(threads())
    try:
        for need in before:
            pool.submit(need)
        return [future.result() for future in [pool.submit(job) for job in jobs]]
    finally:
        pool.shutdown(cancel_futures=True)


class Once(Generic[T]):
    """A function of hashable arguments that is computed once for each, whichever threads ask for it.

    The last values stay: those of two arguments, or on an accelerator of all units prepared together.
    """

    def __init__(self, function: Callable[..., T]) -> None:
        self._function, self._lock = function, Lock()
        self._found: OrderedDict[Hashable, Future[T]] = OrderedDict()

    def __call__(self, *args: Hashable) -> T:
        with self._lock:
            found = self._found.get(args)
            future = self._found[args] = found or Future()
            self._found.move_to_end(args)
            while len(self._found) > max(2, units()):
                self._found.popitem(last=False)
        if found is None:
            try:
                future.set_result(self._function(*args))
            except Exception as error:
                future.set_exception(error)
        return future.result()
