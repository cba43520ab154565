"""Elementwise operations: each result depends on what its operands depend on."""

from functools import partial

import numpy as np
from jax.extend.core import JaxprEqn

from jaxnn.inspection.jaxprs import shape_of
from jaxnn.inspection.receptive_field.field import NOTHING, Array, Rule, Value, mapped, union

_NAMES = """
    abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil clamp clz
    complex conj convert_element_type copy copy_p cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1
    floor ge gt igamma igammac imag integer_pow is_finite le lgamma log log1p logistic lt max min mul ne
    neg nextafter not or pcast polygamma population_count pow pvary real reduce_precision rem reshard
    round rsqrt select_n sharding_constraint shift_left shift_right_arithmetic shift_right_logical sign
    sin sinh sqrt square stop_gradient sub tan tanh xor zeta
"""


def _elementwise(eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    values = [mapped(partial(ranked, eqn), value) for value in values]
    which = values[0]
    if eqn.primitive.name == "select_n" and isinstance(which, np.ndarray):
        values = [_where(np.equal(which, i), case) for i, case in enumerate(values[1:])]
    if eqn.primitive.name == "mul":
        for factor in values:
            if isinstance(factor, np.ndarray):
                values = [_where(factor != 0, value) for value in values]
    return [union(values)]


def ranked(eqn: JaxprEqn, a: Array) -> Array:
    """A scalar operand gets as many axes as the arrays beside it."""
    return a if a.ndim else a.reshape((1,) * len(shape_of(eqn.outvars[0])))


def _where(there: Array, value: Value) -> Value:
    if isinstance(value, tuple) and not there.all():
        return tuple(np.where(there, end, NOTHING) for end in value)
    return value


RULES: dict[str, Rule] = dict.fromkeys(_NAMES.split(), _elementwise)
