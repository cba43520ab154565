"""Batches made ready in the background while the device computes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, Full, Queue
from time import perf_counter
from typing import Any

import jax
import numpy as np

from jaxnn.ops import checks
from jaxnn.ops.checks import refusal


class prefetch(Iterator[Any]):  # in lower case, since it is used like a function
    """An iterator over the same batches, taken from ``batches`` and put on the device by a thread.

    While a step runs, the next batches are read, made into arrays and sent. An array may come from
    whatever NumPy reads as one, such as a CPU tensor of PyTorch, but not from a list of numbers. An
    exception in ``batches`` is raised where its batch would have come.

    Args:
      batches: any iterable of pytrees.
      ahead: how many batches may wait, 1 or more; that many are in the device's memory.
      put: what is done with each in the thread; by default ``jax.device_put`` of its arrays.

    Attributes:
      waited: seconds for which ``next`` has had to wait so far: where the host keeps up, next to none.

    Raises:
      TypeError: ``batches`` that can't be iterated over, or ``ahead`` that is not an integer.

    >>> import numpy as np, jaxnn as nn
    >>> sum(int(batch.sum()) for batch in nn.training.prefetch(np.arange(6).reshape(3, 2)))
    15
    """

    def __init__(self, batches: Iterable[Any], *, ahead: int = 2, put: Callable[[Any], Any] | None = None):
        owner = "prefetch"
        if not isinstance(batches, Iterable):
            raise TypeError(refusal(owner, "batches", "an iterable of batches", batches))
        if put is not None:
            checks.function(owner, "put", put, "a function of a batch")
        self.waited = 0.0
        self._queue: Queue[tuple[bool, Any]] = Queue(checks.integer(owner, "ahead", ahead, least=1))
        self._closed = threading.Event()
        self._put = on_device if put is None else put
        self.pause: Callable[[], None] = lambda: None  #: called a few times a second while ``next`` waits
        threading.Thread(target=self._fill, args=(batches,), name="jaxnn-prefetch", daemon=True).start()

    def __next__(self) -> Any:
        start = perf_counter()
        good, item = self._take()
        self.waited += perf_counter() - start
        if not good:
            self.close()
            raise item
        return item

    def close(self) -> None:
        """Ends the thread after the batch that it is reading, and gives up the batches that wait."""
        self._closed.set()

    def _take(self) -> tuple[bool, Any]:
        while not self._closed.is_set():
            try:
                return self._queue.get(timeout=0.1)  # in short waits, between which Ctrl-C is heard
            except Empty:
                self.pause()
        return False, StopIteration()

    def _fill(self, batches: Iterable[Any]) -> None:
        try:
            iterator = iter(batches)
            while not self._closed.is_set():
                try:
                    batch = next(iterator)
                except StopIteration as end:
                    return self._offer(False, end)
                self._offer(True, self._put(batch))
        except BaseException as error:
            self._offer(False, error)

    def _offer(self, good: bool, item: Any) -> None:
        while not self._closed.is_set():
            try:
                return self._queue.put((good, item), timeout=0.1)
            except Full:
                continue


def on_device(batch: Any) -> Any:
    """The batch's arrays on the default device; what NumPy can read counts as an array."""
    return jax.device_put(jax.tree.map(as_array, batch))


def as_array(leaf: Any) -> Any:
    """A JAX array as it is, anything else as NumPy reads it."""
    return leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
