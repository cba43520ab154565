"""Training loops to hold ``fit`` against: what is common to all of them.

A loop is made from a task, and then called for one epoch after another; it returns once the device is done.
All shuffle honestly: each epoch draws its own permutation of all examples on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

Loop = Callable[[int], float]
RATE, MOMENTUM, CLASSES = 0.01, 0.9, 10


class Task(NamedTuple):
    """A net by name, the shape of an example, the rows of a batch and the steps of an epoch."""

    net: str
    title: str
    shape: tuple[int, ...]
    rows: int
    steps: int


class Data(NamedTuple):
    """Noise, float32, and its classes, int32."""

    x: np.ndarray
    y: np.ndarray


def data(task: Task) -> Data:
    random = np.random.default_rng(0)
    n = task.rows * task.steps
    return Data(
        random.standard_normal((n, *task.shape)).astype(np.float32),
        random.integers(0, CLASSES, n).astype(np.int32),
    )


def order(task: Task, epoch: int) -> np.ndarray:
    """The rows of each step of an epoch, (steps, rows)."""
    return np.random.default_rng(epoch).permutation(task.rows * task.steps).reshape(task.steps, task.rows)


def batches(task: Task, arrays: Data, epoch: int) -> Iterator[Data]:
    """An epoch's batches as a host makes them: rows of NumPy arrays."""
    for rows in order(task, epoch):
        yield Data(arrays.x[rows], arrays.y[rows])
