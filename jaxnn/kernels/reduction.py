"""Sums and extremes over axes, and copies along them; on a CPU sums and extremes have forms of their own.

On CPUs XLA passes sums to a library that reads its operand from memory: a difference or a product that is to
be summed is written out first. Here an axis is cut into a few slices, and one loop computes what is to be
summed and adds up the slices; only the partial sums, a few times fewer, are written and left to the library.
Only a primitive can have both a form per platform and a transpose of its own; the transpose of a copy is such
a sum again.

Few values take less time than the start of a kernel, and XLA reduces rows of more than 32 in two kernels that
it fuses with nothing. Such rows are cut into columns of up to 32 values, combined value by value: one kernel
combines them, reduces what is left and goes on with the result.

The library's maximum and minimum lose NaN. Elementwise ones keep it, so an extreme is taken slice by slice.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad

from jaxnn.kernels.dtypes import widened
from jaxnn.kernels.lowering.fusion import materialized
from jaxnn.kernels.lowering.primitive import DEFAULT, Problem, of, primitive
from jaxnn.kernels.padding import padded

Axes = tuple[int, ...]

#: A cache holds about this many lines a power of two apart: more slices than that displace each other.
MOST_SLICES = 8
#: Slices of the last axis are no shorter.
SHORTEST_ROW = 16
#: The library sums fewer values than this along rows as fast as a loop over slices does, or faster; layer
#: norm of more takes 0.5 to 1.15 of the time by slices (JAX 0.10 and 0.12, AVX2 and AVX-512).
FEWEST_FOR_SLICED_ROWS = (1 << 15) + 1
#: The sums of fewer values than this are fused with what reads them, if they are few.
FEWEST_FOR_SEPARATE_SUMS = 1 << 16
#: From this many rows on XLA also leaves to the library what is done with their sums.
FEWEST_ROWS = 1 << 12
#: XLA reduces rows of at most so many values in one kernel, and fuses it with others; longer rows in two.
LONGEST_COLUMN = 32
#: More columns take longer to compile than they save.
MOST_COLUMNS = 32
#: XLA reduces arrays of at least this many values by its library.
FEWEST_FOR_LIBRARY = 1 << 12
#: Along an axis of at most this many values elementwise operations are faster than a reduction.
SHORT_AXIS = 4

#: What forms need, and when they pay, in words.
SLICES = "an axis, not the batch, that can be cut into slices of one size, or nearly so"
SHORT = f"a single axis, not the batch, of at most {SHORT_AXIS} values"
MANY_ROWS = f"at least {FEWEST_ROWS:,} rows"
COLUMNS = f"the last axis, of {LONGEST_COLUMN + 1} to {LONGEST_COLUMN * MOST_COLUMNS:,} values"
FEW = f"fewer than {FEWEST_FOR_LIBRARY:,} values, one device"
FOR_LIBRARY = f"at least {FEWEST_FOR_LIBRARY:,} values"
MANY = f"{FOR_LIBRARY}, {FEWEST_FOR_SLICED_ROWS:,} along the last axis"


def sum_over(x: jax.Array, axes: Axes, implementation: str | None = None) -> jax.Array:
    """The sum over ``axes``, which are kept with size 1; in the form of that name where there is one."""
    slices = _slices(jax.typeof(x), axes)
    result: jax.Array = _sum.bind(x, axes=axes, slices=slices, implementation=implementation)
    return result


def broadcast(x: jax.Array, axes: Axes, like: jax.Array) -> jax.Array:
    """Copies along ``axes``, of size 1, to the sizes that they have in ``like``."""
    return _copies(x, axes, jax.typeof(like))


def extreme(x: jax.Array, axes: Axes, *, smallest: bool = False) -> jax.Array:
    """The largest (or smallest) over ``axes``, which are kept with size 1; NaN where there is one."""
    result: jax.Array = _extreme.bind(x, axes=axes, smallest=smallest)
    return result


def many_rows(p: Problem) -> bool:
    """Whether the last axis holds so many rows that the library may do all work on a row."""
    shape = p.types[0].shape
    count = prod(shape[:-1]) * p.members
    return isinstance(count, int) and shape[-1] > 0 and count >= FEWEST_ROWS


def left_by_slices(x: Any, axes: Axes) -> int | None:
    """How many values of an array of this type slices leave to the library; None where it can't be cut."""
    slices = _slices(x, axes)
    return x.size // slices[1] if slices and isinstance(x.size, int) else None


def in_columns(x: Any, axes: Axes) -> bool:
    """Whether a CPU reduces an array of this type in a single kernel, by columns."""
    return _has_columns(x, axes) and isinstance(x.size, int) and x.size < FEWEST_FOR_LIBRARY


def _has_columns(x: Any, axes: Axes) -> bool:
    size = x.shape[-1] if axes == (x.ndim - 1,) and x.sharding.spec[-1] is None else None
    return isinstance(size, int) and LONGEST_COLUMN < size <= LONGEST_COLUMN * MOST_COLUMNS


def _copies(x: jax.Array, axes: Axes, like: Any) -> jax.Array:
    sizes, spec = ([values[axis] for axis in axes] for values in (like.shape, like.sharding.spec))
    result: jax.Array = _broadcast.bind(x, axes=axes, sizes=tuple(sizes), spec=tuple(spec))
    return result


def _slices(x: Any, axes: Axes) -> tuple[int, int] | None:
    """The axis to cut and into how many slices: neither the batch nor a sharded axis."""
    cuts = []
    for axis in axes:
        size = x.shape[axis]
        if axis > 0 and isinstance(size, int) and x.sharding.spec[axis] is None:
            most = min(size // SHORTEST_ROW if axis == x.ndim - 1 else size, MOST_SLICES)
            count = max((n for n in range(2, most + 1) if size % n == 0), default=1)
            if 2 * count < most and _may_be_uneven(x, axis):
                count = -(-size // -(-size // most))
            cuts.append((count, -axis))
    count, axis = max(cuts, default=(0, 0))
    return (-axis, count) if count > 1 else None


def _may_be_uneven(x: Any, axis: int) -> bool:
    """Whether the last slice may be shorter: where there are loops within slices, or few values.

    Norms of images of 13×13 to 57×57 take 0.4 to 1.25 of the time then, 0.85 in the mean (in groups of 6 or 7
    channels longer); the sums of layer norm over steps, and those along more rows, 1.1 to 2 times as long.
    """
    few = isinstance(x.size, int) and x.size < FEWEST_FOR_SEPARATE_SUMS
    return few if axis == x.ndim - 1 else axis < x.ndim - 2


def _summed(x: jax.Array, *, axes: Axes, **_: Any) -> jax.Array:
    sums = lax.reduce_sum(widened(x), axes)
    return lax.expand_dims(lax.convert_element_type(sums, x.dtype), axes)


def _summed_by_slices(x: jax.Array, *, axes: Axes, slices: tuple[int, int] | None, **_: Any) -> jax.Array:
    assert slices
    axis, count = slices
    parts = _completed(x, -(-x.shape[axis] // count), axis)
    sums = _summed(materialized(reduce(lax.add, parts)), axes=axes)
    # With many rows the library would otherwise take over what reads their sums, with a copy first. Few sums
    # of few values are fused with what reads them: norms are up to twice as fast, larger ones on par.
    few = x.size < FEWEST_FOR_SEPARATE_SUMS and sums.size < FEWEST_ROWS
    return sums if few else materialized(sums)


def _column(size: int) -> int:
    """The length of the columns into which a row of so many values is cut."""
    return -(-size // -(-size // LONGEST_COLUMN))


def _completed(x: jax.Array, length: int, axis: int) -> list[jax.Array]:
    """Slices of one length, the last completed by zeros."""
    size = x.shape[axis]
    slices = [
        lax.slice_in_dim(x, start, min(start + length, size), 1, axis) for start in range(0, size, length)
    ]
    missing = length - slices[-1].shape[axis]
    slices[-1] = padded(slices[-1], {axis: (0, missing)})
    return slices


def _overlapping(x: jax.Array, length: int, axis: int) -> list[jax.Array]:
    """Slices of one length; the last may overlap the one before it: an extreme may read a value twice."""
    size = x.shape[axis]
    starts = (min(start, size - length) for start in range(0, size, length))
    return [lax.slice_in_dim(x, start, start + length, 1, axis) for start in starts]


def _in_pairs(combine: Callable[[Any, Any], Any], values: list[jax.Array]) -> jax.Array:
    """Few operations depend on each other, and the errors of a sum are few too."""
    while len(values) > 1:
        values = [reduce(combine, values[i : i + 2]) for i in range(0, len(values), 2)]
    return values[0]


def _summed_by_columns(x: jax.Array, *, axes: Axes, **_: Any) -> jax.Array:
    (axis,) = axes
    columns = _completed(widened(x), _column(x.shape[axis]), axis)
    return _summed(_in_pairs(lax.add, columns), axes=axes).astype(x.dtype)


def _fits_columns(p: Problem) -> bool:
    return _has_columns(p.types[0], p.params["axes"])


def _columns_pay(p: Problem) -> bool:
    return in_columns(p.types[0], p.params["axes"]) and p.devices == 1


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


def _has_slices(p: Problem) -> bool:
    return p.params["slices"] is not None


def _slices_pay(p: Problem) -> bool:
    (x,), axes = p.types, p.params["axes"]
    fewest = FEWEST_FOR_SLICED_ROWS if x.ndim - 1 in axes else FEWEST_FOR_LIBRARY
    return isinstance(x.size, int) and x.size >= fewest


def _largest(x: jax.Array, *, axes: Axes, smallest: bool, **_: Any) -> jax.Array:
    over = jnp.min if smallest else jnp.max
    return over(x, axes, keepdims=True)


def _largest_by_slices(x: jax.Array, *, axes: Axes, smallest: bool, **_: Any) -> jax.Array:
    for axis in axes:
        while (size := x.shape[axis]) > 1:
            slices = _overlapping(x, -(-size // MOST_SLICES), axis)
            x = materialized(reduce(lax.min if smallest else lax.max, slices))
    return x


def _largest_by_columns(x: jax.Array, *, axes: Axes, smallest: bool, **_: Any) -> jax.Array:
    (axis,) = axes
    columns = _overlapping(x, _column(x.shape[axis]), axis)
    return _largest(_in_pairs(lax.min if smallest else lax.max, columns), axes=axes, smallest=smallest)


def _loses_nan(p: Problem) -> bool:
    size = p.types[0].size
    return not isinstance(size, int) or size >= FEWEST_FOR_LIBRARY


def _copied(x: jax.Array, *, devices: int, **params: Any) -> jax.Array:
    like = _type_of_copies(jax.typeof(x), **params)
    sharding = None if like.sharding.mesh.empty else like.sharding
    return lax.broadcast_in_dim(x, like.shape, tuple(range(x.ndim)), out_sharding=sharding)


def _type_of_sum(x: Any, *, axes: Axes, **_: Any) -> Any:
    return _type_of_copies(x, axes=axes, sizes=[1] * len(axes), spec=[None] * len(axes))


def _type_of_copies(x: Any, *, axes: Axes, sizes: Sequence[Any], spec: Sequence[Any]) -> Any:
    shape, of_all = list(x.shape), list(x.sharding.spec)
    for axis, size, name in zip(axes, sizes, spec, strict=True):
        shape[axis], of_all[axis] = size, name
    return x.update(shape=tuple(shape), weak_type=False, sharding=x.sharding.update(spec=of_all))


def _batch(which: Primitive, args: Sequence[jax.Array], dims: Sequence[int], **params: Any) -> Any:
    """The mapped axis comes first."""
    params["axes"] = tuple(axis + 1 for axis in params["axes"])
    if params.get("slices"):
        axis, count = params["slices"]
        params["slices"] = axis + 1, count
    return which.bind(jnp.moveaxis(args[0], dims[0], 0), **params), 0


_sum: Primitive = primitive(
    "sum",
    ("axes", "slices", "implementation"),
    type_of=_type_of_sum,
    forms={
        DEFAULT: (of(_summed),),
        "cpu": (
            of(_summed_by_columns, "columns", fits=_fits_columns, pays=_columns_pay, needs=COLUMNS, when=FEW),
            of(_summed_by_slices, "slices", fits=_has_slices, pays=_slices_pay, needs=SLICES, when=MANY),
            of(_summed),
        ),
    },
    batch=lambda *args, **params: _batch(_sum, *args, **params),
)
_extreme: Primitive = primitive(
    "extreme",
    ("axes", "smallest"),
    type_of=_type_of_sum,
    forms={
        DEFAULT: (of(_largest),),
        "cpu": (
            of(_largest_value_by_value, "short", fits=_is_short, needs=SHORT),
            of(
                _largest_by_columns,
                "columns",
                fits=_fits_columns,
                pays=_columns_pay,
                needs=COLUMNS,
                when=FEW,
            ),
            of(_largest_by_slices, "slices", pays=_loses_nan, when=FOR_LIBRARY),
            of(_largest),
        ),
    },
    batch=lambda *args, **params: _batch(_extreme, *args, **params),
)
_broadcast: Primitive = primitive(
    "broadcast",
    ("axes", "sizes", "spec"),
    type_of=_type_of_copies,
    forms={DEFAULT: (of(_copied),)},
    batch=lambda *args, **params: _batch(_broadcast, *args, **params),
)
ad.deflinear2(_sum, lambda cotangent, x, *, axes, **_: [_copies(cotangent, axes, x.aval)])
ad.deflinear2(_broadcast, lambda cotangent, x, *, axes, sizes, spec: [sum_over(cotangent, axes)])
