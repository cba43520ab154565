"""Concatenations, and sums over whole axes."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn

from jaxnn.inspection.jaxprs import shape_of
from jaxnn.inspection.receptive_field.elementwise import ranked
from jaxnn.inspection.receptive_field.field import (
    FREE,
    LOST,
    NOTHING,
    Array,
    Rule,
    Value,
    least,
    mapped,
    union,
)


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


def _reduce_by_function(eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    """``lax.reduce``: operands, and for each of them what its reduction starts from, a scalar."""
    operands, starts = values[: len(values) // 2], values[len(values) // 2 :]
    dimensions = tuple(eqn.params["dimensions"])
    reduced = mapped(lambda a: a.min(axis=dimensions), union(operands))
    return [union([reduced, *(mapped(partial(ranked, eqn), start) for start in starts)])] * len(eqn.outvars)


def _whole_axis(eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    axis = eqn.params.get("dimension", eqn.params.get("axis"))
    return [mapped(lambda a: a.min(axis=axis, keepdims=True), union(values))] * len(eqn.outvars)


def _cumulative(eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    axis = eqn.params["axis"]
    turn = partial(np.flip, axis=axis) if eqn.params["reverse"] else np.asarray
    return [mapped(lambda a: turn(np.minimum.accumulate(turn(a), axis)), values[0])]


def _dot_general(eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    contracted, batch = eqn.params["dimension_numbers"]
    rank = len(shape_of(eqn.outvars[0]))

    def product(side: int, a: Array) -> Array:
        free = [axis for axis in range(a.ndim) if axis not in (*contracted[side], *batch[side])]
        order = [*batch[side], *free, *contracted[side]]
        a = np.transpose(a.min(axis=tuple(contracted[side]), keepdims=True), order)
        shared, own = (
            a.shape[: len(batch[side])],
            a.shape[len(batch[side]) : len(order) - len(contracted[side])],
        )
        others = [1] * (rank - len(shared) - len(own))
        return a.reshape(*shared, *(others if side else own), *(own if side else others))

    for side, matrix in enumerate(values[::-1]):
        if isinstance(matrix, np.ndarray) and not matrix.all():
            if batch[0] or len(contracted[0]) > 1:
                return [LOST]
            full = np.broadcast_to(matrix, shape_of(eqn.invars[1 - side]))
            there = np.moveaxis(full != 0, contracted[1 - side][0], 0)
            return [mapped(partial(_masked_product, there, side, contracted[side][0]), values[side])]
    return [union([mapped(partial(product, side), value) for side, value in enumerate(values)])]


def _masked_product(there: Array, side: int, axis: int, a: Array) -> Array:
    """The ends of a product with a known matrix, whose zeros hide what they multiply."""
    rows = np.broadcast_to(np.moveaxis(a, axis, 0), (len(there), *np.delete(a.shape, axis)))
    own, others = (1,) * (rows.ndim - 1), (1,) * (there.ndim - 1)

    def meets(mask: Array, row: Array) -> Array:
        if side:
            return np.where(mask.reshape(*mask.shape, *own), row.reshape(*others, *row.shape), NOTHING)
        return np.where(mask.reshape(*own, *mask.shape), row.reshape(*row.shape, *others), NOTHING)

    return least([meets(mask, row) for mask, row in zip(there, rows, strict=True)])


_REDUCTIONS = "argmax argmin reduce_and reduce_max reduce_min reduce_or reduce_prod reduce_sum reduce_xor"

RULES: dict[str, Rule] = {
    **dict.fromkeys(_REDUCTIONS.split(), _reduce),
    **dict.fromkeys(("cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum"), _cumulative),
    "concatenate": _concatenate,
    "dot_general": _dot_general,
    "optimization_barrier": lambda eqn, values: values,
    "reduce": _reduce_by_function,
    "sort": _whole_axis,
    "stack": _stack,
    "top_k": _whole_axis,
}
