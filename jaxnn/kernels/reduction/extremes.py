"""Extremes over axes.

The library's maximum and minimum lose NaN. Elementwise ones keep it, so an extreme is taken slice by slice.
"""

from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive

from jaxnn.kernels.dtypes import widened
from jaxnn.kernels.lowering.fusion import materialized
from jaxnn.kernels.lowering.primitive import DEFAULT, Problem, of, primitive
from jaxnn.kernels.reduction.cuts import (
    COLUMNS,
    FEW,
    FEWEST_FOR_LIBRARY,
    FOR_LIBRARY,
    MOST_SLICES,
    Axes,
    column,
    columns_pay,
    fits_columns,
    in_pairs,
)
from jaxnn.kernels.reduction.rules import batch, type_of_reduced

#: Along an axis of at most this many values elementwise operations are faster than a reduction.
SHORT_AXIS = 4

#: What the form value by value needs, in words.
SHORT = f"a single axis, not the batch, of at most {SHORT_AXIS} values"


def extreme(x: jax.Array, axes: Axes, *, smallest: bool = False) -> jax.Array:
    """The largest (or smallest) over ``axes``, which are kept with size 1; NaN where there is one."""
    result: jax.Array = _extreme.bind(x, axes=axes, smallest=smallest)
    return result


def _largest(x: jax.Array, *, axes: Axes, smallest: bool, **_: Any) -> jax.Array:
    over = jnp.min if smallest else jnp.max
    return over(x, axes, keepdims=True)


def _is_short(p: Problem) -> bool:
    axis = max(p.params["axes"])
    size = p.types[0].shape[axis]
    return axis > 0 and len(p.params["axes"]) == 1 and isinstance(size, int) and 0 < size <= SHORT_AXIS


def _largest_value_by_value(x: jax.Array, *, axes: Axes, smallest: bool, **_: Any) -> jax.Array:
    (axis,), wide = axes, x
    if jnp.issubdtype(x.dtype, jnp.floating):
        wide = widened(x)  # a CPU would convert half-precision values for every comparison
    values = (lax.slice_in_dim(wide, i, i + 1, 1, axis) for i in range(x.shape[axis]))
    return reduce(lax.min if smallest else lax.max, values).astype(x.dtype)


def _loses_nan(p: Problem) -> bool:
    size = p.types[0].size
    return not isinstance(size, int) or size >= FEWEST_FOR_LIBRARY


def _largest_by_slices(x: jax.Array, *, axes: Axes, smallest: bool, **_: Any) -> jax.Array:
    for axis in axes:
        while (size := x.shape[axis]) > 1:
            slices = _overlapping(x, -(-size // MOST_SLICES), axis)
            x = materialized(reduce(lax.min if smallest else lax.max, slices))
    return x


def _largest_by_columns(x: jax.Array, *, axes: Axes, smallest: bool, **_: Any) -> jax.Array:
    (axis,) = axes
    columns = _overlapping(x, column(x.shape[axis]), axis)
    return _largest(in_pairs(lax.min if smallest else lax.max, columns), axes=axes, smallest=smallest)


def _overlapping(x: jax.Array, length: int, axis: int) -> list[jax.Array]:
    """Slices of one length; the last may overlap the one before it: an extreme may read a value twice."""
    size = x.shape[axis]
    starts = (min(start, size - length) for start in range(0, size, length))
    return [lax.slice_in_dim(x, start, start + length, 1, axis) for start in starts]


_extreme: Primitive = primitive(
    "extreme",
    ("axes", "smallest"),
    type_of=type_of_reduced,
    forms={
        DEFAULT: (of(_largest),),
        "cpu": (
            of(_largest_value_by_value, "short", fits=_is_short, needs=SHORT),
            of(
                _largest_by_columns,
                "columns",
                fits=fits_columns,
                pays=columns_pay,
                needs=COLUMNS,
                when=FEW,
            ),
            of(_largest_by_slices, "slices", pays=_loses_nan, when=FOR_LIBRARY),
            of(_largest),
        ),
    },
    batch=lambda *args, **params: batch(_extreme, *args, **params),
)
