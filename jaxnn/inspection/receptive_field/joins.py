"""What puts arrays side by side, and what sums over whole axes."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn

from jaxnn.inspection.jaxprs import shape_of
from jaxnn.inspection.receptive_field.field import FREE, LOST, NOTHING, Array, Rule, Value, mapped, union


def _concatenate(eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    axis = eqn.params["dimension"]
    return [_side_by_side(values, axis, [shape_of(v)[axis] for v in eqn.invars], eqn.outvars[0])]


def _stack(eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    return [stacked(values, eqn.params["axis"], eqn.outvars[0])]


def stacked(values: Sequence[Value], axis: int, result: Any) -> Value:
    layers = [mapped(lambda a: np.expand_dims(a, axis), value) for value in values]
    return _side_by_side(layers, axis, [1] * len(layers), result)


def _side_by_side(values: Sequence[Value], axis: int, sizes: Sequence[int], result: Any) -> Value:
    if any(value is LOST for value in values):
        return LOST
    axes = max(len(value) if isinstance(value, tuple) else 0 for value in values)
    if not axes:
        return FREE
    nothing = (np.full((1,) * len(shape_of(result)), NOTHING, np.int32),) * axes
    parts = [value if isinstance(value, tuple) else nothing for value in values]

    def side_by_side(pieces: Sequence[Array]) -> Array:
        shape = list(np.broadcast_shapes(*(np.take(piece, [0], axis).shape for piece in pieces)))
        shapes = ([*shape[:axis], size, *shape[axis + 1 :]] for size in sizes)
        return np.concatenate([np.broadcast_to(*pair) for pair in zip(pieces, shapes, strict=True)], axis)

    return tuple(map(side_by_side, zip(*parts, strict=True)))


def _reduce(eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    return [mapped(lambda a: a.min(axis=tuple(eqn.params["axes"])), values[0])]


def _whole_axis(eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    axis = eqn.params.get("dimension", eqn.params.get("axis"))
    return [mapped(lambda a: a.min(axis=axis, keepdims=True), union(values))] * len(eqn.outvars)


def _cumulative(eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    axis = eqn.params["axis"]
    turn = partial(np.flip, axis=axis) if eqn.params["reverse"] else np.asarray
    return [mapped(lambda a: turn(np.minimum.accumulate(turn(a), axis)), values[0])]


def _dot_general(eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    contracted, batch = eqn.params["dimension_numbers"]
    if any(isinstance(value, np.ndarray) and not value.all() for value in values):
        return [LOST]  # a matrix with zeros, which may hide some of what it is multiplied with
    rank = len(shape_of(eqn.outvars[0]))

    def product(side: int, a: Array) -> Array:
        free = [axis for axis in range(a.ndim) if axis not in (*contracted[side], *batch[side])]
        a = np.transpose(
            a.min(axis=tuple(contracted[side]), keepdims=True), [*batch[side], *free, *contracted[side]]
        )
        others = [1] * (rank - len(batch[side]) - len(free))
        sizes = a.shape[len(batch[side]) : len(batch[side]) + len(free)]
        return a.reshape(
            *a.shape[: len(batch[side])], *(others if side else sizes), *(sizes if side else others)
        )

    return [union([mapped(partial(product, side), value) for side, value in enumerate(values)])]


_REDUCTIONS = "argmax argmin reduce_and reduce_max reduce_min reduce_or reduce_prod reduce_sum reduce_xor"

RULES: dict[str, Rule] = {
    **dict.fromkeys(_REDUCTIONS.split(), _reduce),
    **dict.fromkeys(("cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum"), _cumulative),
    "concatenate": _concatenate,
    "dot_general": _dot_general,
    "optimization_barrier": lambda eqn, values: values,
    "sort": _whole_axis,
    "stack": _stack,
    "top_k": _whole_axis,
}
