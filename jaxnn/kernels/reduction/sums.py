"""Sums over axes, and copies along them, each the other's transpose.

Only a primitive can have both a form per platform and a transpose of its own; the transpose of a copy is such
a sum again.
"""

from functools import reduce
from typing import Any

import jax
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad

from jaxnn.kernels.dtypes import widened
from jaxnn.kernels.lowering.fusion import materialized
from jaxnn.kernels.lowering.primitive import DEFAULT, Problem, of, primitive
from jaxnn.kernels.padding import padded
from jaxnn.kernels.reduction.cuts import (
    COLUMNS,
    FEW,
    FEWEST_FOR_LIBRARY,
    FEWEST_FOR_SEPARATE_SUMS,
    FEWEST_ROWS,
    FOR_LIBRARY,
    Axes,
    column,
    columns_pay,
    fits_columns,
    in_pairs,
    slices_of,
)
from jaxnn.kernels.reduction.rules import batch, type_of_copies, type_of_reduced

#: The library sums fewer values than this along rows as fast as a loop over slices does, or faster; layer
#: norm of more takes 0.5 to 1.15 of the time by slices (JAX 0.10 and 0.12, AVX2 and AVX-512).
FEWEST_FOR_SLICED_ROWS = (1 << 15) + 1

#: What the form by slices needs, and when it pays, in words.
SLICES = "an axis, not the batch, that can be cut into slices of one size, or nearly so"
MANY = f"{FOR_LIBRARY}, {FEWEST_FOR_SLICED_ROWS:,} along the last axis"


def sum_over(x: jax.Array, axes: Axes, implementation: str | None = None) -> jax.Array:
    """The sum over ``axes``, which are kept with size 1; in the form of that name where there is one."""
    slices = slices_of(jax.typeof(x), axes)
    result: jax.Array = _sum.bind(x, axes=axes, slices=slices, implementation=implementation)
    return result


def broadcast(x: jax.Array, axes: Axes, like: jax.Array) -> jax.Array:
    """Copies along ``axes``, of size 1, to the sizes that they have in ``like``."""
    return _copies(x, axes, jax.typeof(like))


def _copies(x: jax.Array, axes: Axes, like: Any) -> jax.Array:
    sizes, spec = ([values[axis] for axis in axes] for values in (like.shape, like.sharding.spec))
    result: jax.Array = _broadcast.bind(x, axes=axes, sizes=tuple(sizes), spec=tuple(spec))
    return result


def _summed(x: jax.Array, *, axes: Axes, **_: Any) -> jax.Array:
    sums = lax.reduce_sum(widened(x), axes)
    return lax.expand_dims(lax.convert_element_type(sums, x.dtype), axes)


def _has_slices(p: Problem) -> bool:
    return p.params["slices"] is not None


def _slices_pay(p: Problem) -> bool:
    (x,), axes = p.types, p.params["axes"]
    fewest = FEWEST_FOR_SLICED_ROWS if x.ndim - 1 in axes else FEWEST_FOR_LIBRARY
    return isinstance(x.size, int) and x.size >= fewest


def _summed_by_slices(x: jax.Array, *, axes: Axes, slices: tuple[int, int] | None, **_: Any) -> jax.Array:
    assert slices
    axis, count = slices
    parts = _completed(x, -(-x.shape[axis] // count), axis)
    sums = _summed(materialized(reduce(lax.add, parts)), axes=axes)
    # With many rows the library would otherwise take over what reads their sums, with a copy first. Few sums
    # of few values are fused with what reads them: norms are up to twice as fast, larger ones on par.
    few = x.size < FEWEST_FOR_SEPARATE_SUMS and sums.size < FEWEST_ROWS
    return sums if few else materialized(sums)


def _summed_by_columns(x: jax.Array, *, axes: Axes, **_: Any) -> jax.Array:
    (axis,) = axes
    columns = _completed(widened(x), column(x.shape[axis]), axis)
    return _summed(in_pairs(lax.add, columns), axes=axes).astype(x.dtype)


def _completed(x: jax.Array, length: int, axis: int) -> list[jax.Array]:
    """Slices of one length, the last completed by zeros."""
    size = x.shape[axis]
    slices = [
        lax.slice_in_dim(x, start, min(start + length, size), 1, axis) for start in range(0, size, length)
    ]
    missing = length - slices[-1].shape[axis]
    slices[-1] = padded(slices[-1], {axis: (0, missing)})
    return slices


def _copied(x: jax.Array, *, devices: int, **params: Any) -> jax.Array:
    like = type_of_copies(jax.typeof(x), **params)
    sharding = None if like.sharding.mesh.empty else like.sharding
    return lax.broadcast_in_dim(x, like.shape, tuple(range(x.ndim)), out_sharding=sharding)


_sum: Primitive = primitive(
    "sum",
    ("axes", "slices", "implementation"),
    type_of=type_of_reduced,
    forms={
        DEFAULT: (of(_summed),),
        "cpu": (
            of(_summed_by_columns, "columns", fits=fits_columns, pays=columns_pay, needs=COLUMNS, when=FEW),
            of(_summed_by_slices, "slices", fits=_has_slices, pays=_slices_pay, needs=SLICES, when=MANY),
            of(_summed),
        ),
    },
    batch=lambda *args, **params: batch(_sum, *args, **params),
)
_broadcast: Primitive = primitive(
    "broadcast",
    ("axes", "sizes", "spec"),
    type_of=type_of_copies,
    forms={DEFAULT: (of(_copied),)},
    batch=lambda *args, **params: batch(_broadcast, *args, **params),
)
ad.deflinear2(_sum, lambda cotangent, x, *, axes, **_: [_copies(cotangent, axes, x.aval)])
ad.deflinear2(_broadcast, lambda cotangent, x, *, axes, sizes, spec: [sum_over(cotangent, axes)])
