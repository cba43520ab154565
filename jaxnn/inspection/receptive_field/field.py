"""What an array is replaced by: the places of the input that its values depend on."""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn

Array = np.ndarray[Any, Any]
Field = tuple[Array, ...]  #: (first₁, −last₁, first₂, −last₂, …): a pair per spatial axis of the input


class _Mark:
    """``FREE``: independent of the input, with unknown values. ``LOST``: what it depends on is unknown."""


FREE, LOST = _Mark(), _Mark()
Value = Field | Array | _Mark  #: an ``Array`` is a constant; it broadcasts to its shape as the ends do
Rule = Callable[[JaxprEqn, list[Value]], list[Value]]

#: The end of a field that depends on nothing.
NOTHING = np.iinfo(np.int32).max


def input_field(shape: Sequence[int]) -> Field:
    """The field of an input ``(N, *space, C)``: each place of it depends on itself."""
    ends: list[Array] = []
    for axis in range(1, len(shape) - 1):
        places = along(np.arange(shape[axis], dtype=np.int32), axis, len(shape))
        ends += [places, -places]
    return tuple(ends)


def extent(value: Value) -> tuple[int, ...] | None:
    """How many places of each axis of the input the centre of an array ``(N, *space, C)`` depends on.

    Counted from the first to the last; the largest over the channels at the centre. None where it is
    unknown.
    """
    if not isinstance(value, tuple):
        return None
    centre = [_centre(end.astype(np.int64)) for end in value]
    pairs = zip(centre[::2], centre[1::2], strict=True)
    return tuple(int(np.where(first == NOTHING, 0, 1 - last - first).max()) for first, last in pairs)


def _centre(end: Array) -> Array:
    return end[:, *(slice(n // 2, n // 2 + 1) for n in end.shape[1:-1])] if end.ndim else end


def mapped(function: Callable[[Array], Array], value: Value) -> Value:
    """The ends of a field, or a constant, through a function."""
    if isinstance(value, tuple):
        return tuple(map(function, value))
    return function(value) if isinstance(value, np.ndarray) else value


def union(values: Sequence[Value]) -> Value:
    """The field of what depends on all of these, arrays of one rank."""
    if any(value is LOST for value in values):
        return LOST
    fields = [value for value in values if isinstance(value, tuple)]
    return tuple(map(least, zip(*fields, strict=True))) if fields else FREE


def least(arrays: Sequence[Array]) -> Array:
    return reduce(np.minimum, arrays)


def along(a: Array, axis: int, rank: int) -> Array:
    """A vector that lies along one axis."""
    return a.reshape([-1 if i == axis % rank else 1 for i in range(rank)])


def bound(eqn: JaxprEqn, arrays: Sequence[Array], params: dict[str, Any]) -> Any:
    """The result of an equation on constants."""
    with jax.ensure_compile_time_eval():
        return eqn.primitive.bind(*map(jnp.asarray, arrays), **params)
