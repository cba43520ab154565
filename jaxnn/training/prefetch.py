"""Batches made ready in the background while the device computes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
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
      busy: seconds that reading and sending have taken the thread so far.
      read: how many batches it has read.

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
        self.waited = self.busy = 0.0
        self.read = 0
        self.pause: Callable[[], None] = lambda: None  #: called a few times a second while ``next`` waits
        self._put = on_device if put is None else put
        # What `with` sets holds in the thread that set it.
        config: Any = jax.config
        self._x64, self._device = config.jax_enable_x64, config.jax_default_device
        self._found: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
        self._room: SimpleQueue[int] = SimpleQueue()  #: so many more batches may be read
        self._ahead, self._taken, self._closed = checks.integer(owner, "ahead", ahead, least=1), 0, False
        self._room.put(self._ahead)
        threading.Thread(target=self._fill, args=(batches,), name="jaxnn-prefetch", daemon=True).start()

    def __next__(self) -> Any:
        if self._closed:
            raise StopIteration
        good, item = self._take()
        if not good:
            self.close()
            raise item
        # To wake the thread takes longer than to read a small batch: it is told of several places at once.
        self._taken += 1
        if 2 * self._taken >= self._ahead:
            self._room.put(self._taken)
            self._taken = 0
        return item

    def close(self) -> None:
        """Ends the thread after the batch that it is reading, and gives up the batches that wait."""
        self._closed = True
        self._room.put(0)

    def _take(self) -> tuple[bool, Any]:
        try:
            return self._found.get_nowait()
        except Empty:
            pass
        start = perf_counter()
        try:
            while True:
                try:
                    return self._found.get(timeout=0.1)  # in short waits, between which Ctrl-C is heard
                except Empty:
                    self.pause()
        finally:
            self.waited += perf_counter() - start

    def _fill(self, batches: Iterable[Any]) -> None:
        try:
            with jax.enable_x64(self._x64), jax.default_device(self._device):
                self._read(iter(batches))
        except BaseException as error:
            self._found.put((False, error))

    def _read(self, iterator: Iterator[Any]) -> None:
        while not self._closed:
            for _ in range(self._room.get()):
                if self._closed:
                    return
                start = perf_counter()
                try:
                    batch = self._put(next(iterator))
                except StopIteration as end:
                    return self._found.put((False, end))
                self.busy += perf_counter() - start
                self.read += 1
                self._found.put((True, batch))


def on_device(batch: Any) -> Any:
    """The batch's arrays on the default device; what NumPy can read counts as an array."""
    return jax.device_put(jax.tree.map(as_array, batch))


def as_array(leaf: Any) -> Any:
    """A JAX array as it is, and a masked one, which is to be refused; anything else as NumPy reads it."""
    return leaf if isinstance(leaf, jax.Array | np.ma.MaskedArray) else np.asarray(leaf)
