"""Operations that move values: fields move with them."""

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
from jax.extend.core import JaxprEqn

from jaxnn.inspection.jaxprs import shape_of
from jaxnn.inspection.receptive_field.field import LOST, NOTHING, Array, Rule, Value, bound, mapped


def _reshape(a: Array, eqn: JaxprEqn) -> Array:
    """Axes that are merged or split are broadcast first, if the values vary along any of them."""
    old, new = shape_of(eqn.invars[0]), shape_of(eqn.outvars[0])
    shape: list[int] = []
    full: list[int] = []
    i = j = 0
    while i < len(old) or j < len(new):
        start, first = i, j
        i, j = min(i + 1, len(old)), min(j + 1, len(new))
        while prod(old[start:i]) != prod(new[first:j]):
            i, j = (i + 1, j) if prod(old[start:i]) < prod(new[first:j]) else (i, j + 1)
        constant = prod(a.shape[start:i]) == 1
        full += a.shape[start:i] if constant else old[start:i]
        shape += [1] * (j - first) if constant else new[first:j]
    return np.broadcast_to(a, full).reshape(shape)


def _broadcast(a: Array, eqn: JaxprEqn) -> Array:
    shape = [1] * len(eqn.params["shape"])
    for axis, size in zip(eqn.params["broadcast_dimensions"], a.shape, strict=True):
        shape[axis] = size
    return a.reshape(shape)


def _cut(a: Array, starts: Sequence[int], stops: Sequence[int], strides: Sequence[int] | None) -> Array:
    cuts = zip(a.shape, starts, stops, strides or [1] * a.ndim, strict=True)
    return a[tuple(slice(None) if n == 1 else slice(*cut) for n, *cut in cuts)]


def _split(eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    axis, stops = eqn.params["axis"], np.cumsum(eqn.params["sizes"])

    def part(stop: int, size: int) -> Callable[[Array], Array]:
        return lambda a: a if a.shape[axis] == 1 else np.take(a, range(stop - size, stop), axis)

    return [mapped(part(*ends), values[0]) for ends in zip(stops, eqn.params["sizes"], strict=True)]


def _dynamic_slice(eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    operand = values[0]
    starts = [start for start in values[1:] if isinstance(start, np.ndarray)]
    if len(starts) < len(values) - 1:
        return [LOST]
    sizes = eqn.params["slice_sizes"]
    ends = zip(starts, shape_of(eqn.invars[0]), sizes, strict=True)
    low = [min(max(int(start), 0), n - size) for start, n, size in ends]
    high = [start + size for start, size in zip(low, sizes, strict=True)]
    return [mapped(lambda a: _cut(a, low, high, None), operand)]


def _gather(eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    operand, indices = values
    numbers = eqn.params["dimension_numbers"]
    if isinstance(indices, tuple) and not isinstance(operand, tuple):  # a table that the input looks up
        return [mapped(lambda a: np.expand_dims(a.min(axis=-1), tuple(numbers.offset_dims)), indices)]
    if not isinstance(indices, np.ndarray):
        return [LOST]
    shape, places = shape_of(eqn.invars[0]), np.broadcast_to(indices, shape_of(eqn.invars[1]))

    def gathered(a: Array) -> Array:
        # Indexed axes are broadcast; along the others the window takes everything.
        indexed = {*numbers.start_index_map, *numbers.operand_batching_dims}
        kept = [n == 1 and axis not in indexed for axis, n in enumerate(a.shape)]
        a = np.broadcast_to(a, [1 if keep else n for keep, n in zip(kept, shape, strict=True)])
        sizes = zip(kept, eqn.params["slice_sizes"], strict=True)
        changed = {"slice_sizes": tuple(1 if keep else n for keep, n in sizes), "fill_value": NOTHING}
        return np.asarray(bound(eqn, [a, places], {**eqn.params, **changed}))

    return [mapped(gathered, operand)]


#: Operations of one operand and no windows, which serve for constants as well.
_OF_ONE: dict[str, Callable[[Array, JaxprEqn], Array]] = {
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "rev": lambda a, eqn: np.flip(a, eqn.params["dimensions"]),
    "slice": lambda a, eqn: _cut(a, *(eqn.params[k] for k in ("start_indices", "limit_indices", "strides"))),
    "squeeze": lambda a, eqn: np.squeeze(a, eqn.params["dimensions"]),
    "transpose": lambda a, eqn: np.transpose(a, eqn.params["permutation"]),
}


def _moved(eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    return [mapped(lambda a: _OF_ONE[eqn.primitive.name](a, eqn), values[0])]


RULES_OF_ONE: dict[str, Rule] = dict.fromkeys(_OF_ONE, _moved)
RULES: dict[str, Rule] = {
    **RULES_OF_ONE,
    "dynamic_slice": _dynamic_slice,
    "gather": _gather,
    "split": _split,
}
