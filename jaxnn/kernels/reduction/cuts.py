"""How CPUs cut an axis to reduce it: into a few slices, or into columns.

XLA passes sums to a library that reads its operand from memory: a difference or a product that is to be
summed is written out first. Here an axis is cut into a few slices, and one loop computes what is to be summed
and adds up the slices; only the partial sums, a few times fewer, are written and left to the library.

Few values take less time than the start of a kernel, and XLA reduces rows of more than 32 in two kernels that
it fuses with nothing. Such rows are cut into columns of up to 32 values, combined value by value: one kernel
combines them, reduces what is left and goes on with the result.
"""

from collections.abc import Callable
from functools import reduce
from math import prod
from typing import Any

import jax

from jaxnn.kernels.lowering.primitive import Problem

Axes = tuple[int, ...]

#: A cache holds about this many lines a power of two apart: more slices than that displace each other.
MOST_SLICES = 8
#: Slices of the last axis are no shorter.
SHORTEST_ROW = 16
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

#: What forms need, and when they pay, in words.
MANY_ROWS = f"at least {FEWEST_ROWS:,} rows"
COLUMNS = f"the last axis, of {LONGEST_COLUMN + 1} to {LONGEST_COLUMN * MOST_COLUMNS:,} values"
FEW = f"fewer than {FEWEST_FOR_LIBRARY:,} values, one device"
FOR_LIBRARY = f"at least {FEWEST_FOR_LIBRARY:,} values"


def many_rows(p: Problem) -> bool:
    """Whether the last axis holds so many rows that the library may do all work on a row."""
    shape = p.types[0].shape
    count = prod(shape[:-1]) * p.members
    return isinstance(count, int) and shape[-1] > 0 and count >= FEWEST_ROWS


def slices_of(x: Any, axes: Axes) -> tuple[int, int] | None:
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


def left_by_slices(x: Any, axes: Axes) -> int | None:
    """How many values of an array of this type slices leave to the library; None where it can't be cut."""
    slices = slices_of(x, axes)
    return x.size // slices[1] if slices and isinstance(x.size, int) else None


def has_columns(x: Any, axes: Axes) -> bool:
    """Whether it is the last axis alone, not sharded, of a length that columns are made of."""
    size = x.shape[-1] if axes == (x.ndim - 1,) and x.sharding.spec[-1] is None else None
    return isinstance(size, int) and LONGEST_COLUMN < size <= LONGEST_COLUMN * MOST_COLUMNS


def in_columns(x: Any, axes: Axes) -> bool:
    """Whether a CPU reduces an array of this type in a single kernel, by columns."""
    return has_columns(x, axes) and isinstance(x.size, int) and x.size < FEWEST_FOR_LIBRARY


def fits_columns(p: Problem) -> bool:
    return has_columns(p.types[0], p.params["axes"])


def columns_pay(p: Problem) -> bool:
    return in_columns(p.types[0], p.params["axes"]) and p.devices == 1


def column(size: int) -> int:
    """The length of the columns into which a row of so many values is cut."""
    return -(-size // -(-size // LONGEST_COLUMN))


def in_pairs(combine: Callable[[Any, Any], Any], values: list[jax.Array]) -> jax.Array:
    """Few operations depend on each other, and the errors of a sum are few too."""
    while len(values) > 1:
        values = [reduce(combine, values[i : i + 2]) for i in range(0, len(values), 2)]
    return values[0]
