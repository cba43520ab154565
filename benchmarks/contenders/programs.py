"""The tasks given to every contender, and its answer: a call to time and a way to read the result."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.specs import Shape, Spec


@dataclass(frozen=True)
class OpTask:
    """One layer, forward or forward and backward.

    Attributes:
      spec: the layer.
      x, weights, cotangent: as in ``specs``, float32; they are rounded to ``dtype``.
      dtype: to compute in.
      mode: forward, or both: the output and the gradients of weights and of a floating-point x.
      place: top, or scan: ``steps`` times in a ``lax.scan`` over batches.
    """

    spec: Spec
    x: np.ndarray
    weights: Any
    cotangent: np.ndarray
    dtype: str = "float32"
    mode: str = "forward"
    place: str = "top"
    steps: int = 4


@dataclass(frozen=True)
class StepTask:
    """Training steps of a net: stochastic gradient descent with momentum.

    Attributes:
      spec: the net.
      weights: to start from; with ``copies`` each has that as its leading axis.
      x, y: ``steps`` batches, (steps, N, …); y are labels, or images for the mean squared error.
      rate, momentum: of the optimiser.
      place: top (a call is one step, on the first batch) or epoch (a call is a scan over all batches).
      copies: independent nets trained side by side on the same batches; 0 for one net.
    """

    spec: Spec
    weights: Any
    x: np.ndarray
    y: np.ndarray
    rate: float = 0.01
    momentum: float = 0.9
    dtype: str = "float32"
    place: str = "top"
    copies: int = 0

    @property
    def shape(self) -> Shape:
        return self.x.shape[1:]


@dataclass(frozen=True)
class Program:
    """Something to time.

    Attributes:
      call: does the work, and waits for it; on an accelerator of the kind that can be queued
        (``timing.calling``).
      read: the comparable arrays of the result of ``call``.
      code: the compiled program as text, without names; compiles anew. None where there is no such text.
    """

    call: Callable[[], Any]
    read: Callable[[Any], list[np.ndarray]]
    code: Callable[[], str] | None = None
