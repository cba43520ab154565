"""Counts the floating-point operations of a program as it was traced.

XLA's own cost analysis counts what one platform's form of the program does; this counts the operations that
the program asks for, on any platform.
"""

from math import prod
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn

from jaxnn.inspection.jaxprs import called, opened
from jaxnn.kernels.lowering.meaning import given_flops

#: Primitives that move values, cast them, or create them.
_MOVES = """
    bitcast_convert_type broadcast_in_dim concatenate convert_element_type copy copy_p dynamic_slice
    dynamic_update_slice gather iota optimization_barrier pad pcast pvary reshape reshard rev scatter
    sharding_constraint slice split squeeze stack stop_gradient transpose unstack
"""
_REDUCTIONS = (
    "argmax argmin reduce reduce_and reduce_max reduce_min reduce_or reduce_prod reduce_sum reduce_xor"
)


def count_flops(jaxpr: Any) -> int | None:
    """The floating-point operations of a program; None where the length of a loop depends on values.

    A multiply-add is 2. A matrix product or a convolution counts 2 per product, including products with
    padding but not those with zeros between the values of a transposed convolution; a reduction counts 1 per
    input value; a sliding window, 1 per value under it; a scan, its body times its length; a condition, its
    most expensive branch. Any other computation counts 1 per output value. Moving, copying and casting
    values, and arithmetic on integers and booleans alone, count nothing.
    """
    total = 0
    for eqn in opened(jaxpr)[0].eqns:
        count = _count(eqn)
        if count is None:
            return None
        total += count
    return total


def _count(eqn: JaxprEqn) -> int | None:
    name, params = eqn.primitive.name, eqn.params
    given: list[Any] = [v.aval for v in eqn.invars]
    made: list[Any] = [v.aval for v in eqn.outvars]
    floating = any(map(_is_floating, (*given, *made)))
    if floating and (flops := given_flops(eqn)) is not None:
        return flops
    if call := called(eqn):
        return count_flops(call[0])
    if name == "scan":
        body = count_flops(params["jaxpr"])
        return None if body is None else body * params["length"]
    if name == "cond":
        branches = [count_flops(branch) for branch in params["branches"]]
        known = [count for count in branches if count is not None]
        return max(known) if len(known) == len(branches) else None
    if name == "while":
        return None
    if name in _MOVES.split() or not floating:
        return 0
    if name in _REDUCTIONS.split():
        return _size(given[0])
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        return 2 * _size(made[0]) * prod(given[0].shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        return _convolution(given[0], given[1], made[0], params)
    if name.startswith("reduce_window"):
        return _size(made[0]) * prod(params["window_dimensions"])
    return sum(_size(aval) for aval in made)


def _convolution(x: Any, kernel: Any, y: Any, params: Any) -> Any:
    numbers = params["dimension_numbers"]
    terms = y.shape[numbers.out_spec[0]] * y.shape[numbers.out_spec[1]] * kernel.shape[numbers.rhs_spec[1]]
    for axis, stride in enumerate(params["window_strides"]):
        out, window = y.shape[numbers.out_spec[axis + 2]], kernel.shape[numbers.rhs_spec[axis + 2]]
        places = stride * np.arange(out)[:, None] + params["rhs_dilation"][axis] * np.arange(window)
        places -= params["padding"][axis][0]
        # Products of window and kernel, without those of zeros between the values of the input.
        terms *= int((places % params["lhs_dilation"][axis] == 0).sum())
    return 2 * terms


def _is_floating(aval: Any) -> bool:
    return jnp.issubdtype(getattr(aval, "dtype", np.int32), jnp.inexact)


def _size(aval: Any) -> Any:
    return prod(aval.shape)
