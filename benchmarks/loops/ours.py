"""jaxnn: the nets, and ``fit`` an epoch at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from time import perf_counter, sleep
from typing import Any, NamedTuple

import jax
import optax

import jaxnn as nn
from benchmarks.loops import CLASSES, MOMENTUM, RATE, Data, Loop, Task, batches

NETS: dict[str, Callable[[], nn.Layer]] = {
    "MLP": lambda: nn.serial(nn.dense(50), nn.relu, nn.dense(100), nn.relu, nn.dense(CLASSES)),
    "CNN": lambda: nn.serial(
        nn.conv(8, 3, padding="SAME"), nn.batch_norm(), nn.relu, nn.max_pool(2),
        nn.conv(16, 3, padding="SAME"), nn.relu, nn.max_pool(2), nn.flatten, nn.dense(CLASSES),
    ),
    "LSTM": lambda: nn.serial(nn.lstm(32, outputs="last"), nn.dense(CLASSES)),
}  # fmt: skip
OPTIMIZER = optax.sgd(RATE, momentum=MOMENTUM)
LOSS = optax.softmax_cross_entropy_with_integer_labels


class Ended(Exception):
    """Tells a run that no more epochs are wanted."""


class Fit:
    """A run of ``fit`` that stands still after each epoch until it is called for the next.

    It compiles once, as users' runs do, and its epochs can take turns with those of other loops.
    """

    def __init__(self, task: Task, arrays: Any, **settings: Any):
        self.go, self.ends = SimpleQueue[bool](), SimpleQueue[Any]()
        given = {"key": jax.random.key(0), "epochs": 10**6, "progress": False, **settings}
        net = NETS[task.net]()

        def run() -> None:
            try:
                self._wait()
                nn.fit(net, OPTIMIZER, LOSS, arrays, on_epoch=self._after, **given)
            except Ended:
                pass
            except BaseException as error:
                self.ends.put(error)

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def __call__(self, epoch: int) -> float:
        self.go.put(True)
        end = self.ends.get()
        if isinstance(end, BaseException):
            raise end
        return end

    def close(self) -> None:
        self.go.put(False)
        self.thread.join()

    def _after(self, epoch: int, means: dict[str, float]) -> None:
        self.ends.put(means["loss"])
        self._wait()

    def _wait(self) -> None:
        if not self.go.get():
            raise Ended


def scanned(task: Task, arrays: Data) -> Loop:
    return Fit(task, tuple(arrays), batch_size=task.rows)


def unscanned(task: Task, arrays: Data) -> Loop:
    return Fit(task, tuple(arrays), batch_size=task.rows, on_device=False)


def streamed(task: Task, arrays: Data) -> Loop:
    return Fit(task, lambda epoch: batches(task, arrays, epoch))


class Waited(NamedTuple):
    """Seconds per step of a loop over ``prefetch``, and for how many of them it waited for a batch."""

    step: float
    waited: float


def waited(task: Task, arrays: Data, pause: float = 0.0) -> Waited:
    """A host that takes ``pause`` seconds longer over each batch feeds the second of two epochs."""
    net = NETS[task.net]()
    step = nn.make_step(net, OPTIMIZER, LOSS)
    state = nn.init_state(net, OPTIMIZER, jax.random.key(0), arrays.x[:1])

    def host(epoch: int) -> Iterator[Data]:
        for batch in batches(task, arrays, epoch):
            sleep(pause)
            yield batch

    found = Waited(0.0, 0.0)
    for epoch in range(2):
        reader = nn.training.prefetch(host(epoch))
        start = perf_counter()
        for x, y in reader:
            state, scores = step(state, x, y)
            jax.block_until_ready(scores)
        found = Waited((perf_counter() - start) / task.steps, reader.waited / task.steps)
    return found
