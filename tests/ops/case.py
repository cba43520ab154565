"""One setting of one op, for the properties that every op must have."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """An op with its settings bound, and the shapes of the arrays it takes.

    Attributes:
      name: for the test's name, for example ``"conv-2d-strided"``.
      op: ``op(x, *weights)``, every setting bound; returns an array or a tuple of arrays.
      shapes: of ``x`` and of each weight; all of them floating-point. ``x`` has the batch axis first.
      large: the same with more than 32,768 elements in ``x`` or the output; None to leave that test out.
      positive: indices of the arrays that must be positive (a variance).
      batch_in_output: the outputs have the batch axis first too (False for statistics).
      rows: each row of the batch is treated on its own (False for batch normalisation in training).
      second_order: the second derivative is continuous enough for finite differences.
      smooth: the first derivative is (False for a step).
      forward_mode: ``jax.jvp`` is promised.
    """

    name: str
    op: Callable[..., Any]
    shapes: tuple[Shape, ...]
    large: tuple[Shape, ...] | None = None
    positive: tuple[int, ...] = ()
    batch_in_output: bool = True
    rows: bool = True
    second_order: bool = True
    smooth: bool = True
    forward_mode: bool = True
