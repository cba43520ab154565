"""Slices that differ in their place only, as one loop that XLA compiles once.

XLA compiles each loop for a CPU on its own, in some 20 ms, unless the program holds the same loop already. A
slice at a constant place is a loop of its own for each place. So the place is kept from XLA until the
program runs: it is then an operand, and slices of one size are one loop, with all that is fused into them.
Such a slice takes the same time as one at a constant place. On other platforms than CPUs it is one.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.extend.mlir.dialects import stablehlo as hlo
from jax.interpreters import mlir

from jaxnn.kernels.lowering.emission import RULES, platforms
from jaxnn.kernels.lowering.fusion import kept_call
from jaxnn.kernels.lowering.meaning import MEANINGS, Meaning


def split(x: jax.Array, parts: int, axis: int) -> list[jax.Array]:
    """Equal parts of an axis."""
    if parts == 1:
        return [x]
    size = x.shape[axis] // parts
    return [sliced(x, place(part * size), size, axis) for part in range(parts)]


def sliced(x: jax.Array, start: jax.Array, size: int, axis: int) -> jax.Array:
    """``size`` values of an axis from a place on."""
    starts: list[Any] = [np.int32(0)] * x.ndim
    starts[axis] = start
    sizes = (*x.shape[:axis], size, *x.shape[axis + 1 :])
    return lax.dynamic_slice(x, starts, sizes, allow_negative_indices=False)


def strided(x: jax.Array, axes: Mapping[int, tuple[jax.Array, int, int]]) -> jax.Array:
    """Some values of each of these axes, ``{axis: (place, size, step)}``: ``size`` values, every ``step``-th
    from the place on.
    """
    starts: list[Any] = [np.int32(0)] * x.ndim
    reach, steps = list(x.shape), [1] * x.ndim
    for axis, (start, size, step) in axes.items():
        starts[axis], reach[axis], steps[axis] = start, (size - 1) * step + 1, step
    read = lax.dynamic_slice(x, starts, reach, allow_negative_indices=False)
    return lax.slice(read, (0,) * x.ndim, read.shape, steps)


def place(n: int) -> jax.Array:
    """``n``, an int32 that XLA does not know when it compiles for a CPU."""
    result: jax.Array = _place.bind(n=n)
    return result


def _constant(n: int) -> Any:
    return mlir.ir_constant(np.asarray(n, np.int32), aval=_type(n=n))


def _kept(context: Any, n: int) -> Any:
    """The result of a call that XLA neither inlines nor evaluates.

    It evaluates calls of constants; so the call's operand is one behind a barrier. A barrier alone would not
    do: it is removed before loops are fused.
    """
    return kept_call(context, hlo.OptimizationBarrierOp([_constant(n)]).results[0])


def _type(*, n: int) -> ShapedArray:
    return ShapedArray((), np.dtype(np.int32))


def _emitted(context: Any, types: Any, values: Any, *, n: int) -> Any:
    return [_type(n=n)], [_kept(context, n) if platforms(context) == ("cpu",) else _constant(n)]


_place = Primitive("jaxnn_place")
_place.def_impl(lambda *, n: np.int32(n))
_place.def_abstract_eval(_type)
mlir.register_lowering(_place, lambda context, *, n: [_constant(n)])
mlir.register_lowering(_place, lambda context, *, n: [_kept(context, n)], platform="cpu")
RULES[_place] = _emitted
MEANINGS[_place] = Meaning(lambda *, n: np.int32(n))
