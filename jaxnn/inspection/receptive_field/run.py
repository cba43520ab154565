"""The abstract run of a program: equation by equation, through calls, loops and choices."""

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn, Literal

from jaxnn.inspection.jaxprs import called, opened, scan_parts, shape_of, steps
from jaxnn.inspection.receptive_field import elementwise, joins, moves, windows
from jaxnn.inspection.receptive_field.field import FREE, LOST, Array, Rule, Value, bound, mapped, union

#: Limits: the values of a constant that is computed, and the equations of a scan that is run step by step.
_MOST_VALUES, _MOST_STEPS = 10_000_000, 50_000

_RULES: dict[str, Rule] = {**elementwise.RULES, **moves.RULES, **joins.RULES, **windows.RULES}


def run(jaxpr: Any, values: Sequence[Value]) -> list[Value]:
    """What is known of the results of a program, from what is known of its operands."""
    program, consts = opened(jaxpr)
    known: dict[Any, Value] = dict(zip(program.constvars, map(_constant, consts), strict=True))
    known.update(zip(program.invars, values, strict=True))

    def read(atom: Any) -> Value:
        return _constant(atom.val) if isinstance(atom, Literal) else known[atom]

    for eqn in program.eqns:
        known.update(zip(eqn.outvars, _equation(eqn, [read(atom) for atom in eqn.invars]), strict=True))
    return [read(atom) for atom in program.outvars]


def _equation(eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    name = eqn.primitive.name
    if call := called(eqn):
        jaxpr, operands = call
        return run(jaxpr, [values[i] for i in operands])
    if not any(isinstance(value, tuple) or value is LOST for value in values):
        return _without_input(eqn, values)
    if name in ("scan", "cond"):
        return (_scan if name == "scan" else _cond)(eqn, values)
    if name in _RULES and not any(value is LOST for value in values):
        return _RULES[name](eqn, values)
    return [LOST] * len(eqn.outvars)


def _constant(value: Any) -> Value:
    if isinstance(value, jax.core.Tracer) or jnp.issubdtype(jnp.result_type(value), jax.dtypes.extended):
        return FREE
    return np.asarray(value)


def _without_input(eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    """The results of an equation on constants and on arrays that are not known."""
    name = eqn.primitive.name
    if name in moves.RULES_OF_ONE and values[0] is not FREE:
        return _RULES[name](eqn, values)
    arrays = [value for value in values if isinstance(value, np.ndarray)]
    if len(arrays) < len(values) or name in ("scan", "while", "cond") or eqn.effects:
        return [FREE] * len(eqn.outvars)
    if name in elementwise.RULES:
        arrays = list(np.broadcast_arrays(*(elementwise.ranked(eqn, array) for array in arrays)))
    elif max(prod(shape_of(v)) for v in (*eqn.invars, *eqn.outvars)) > _MOST_VALUES:
        return [LOST] * len(eqn.outvars)
    else:
        arrays = [np.broadcast_to(a, shape_of(v)) for a, v in zip(arrays, eqn.invars, strict=True)]
    results = bound(eqn, arrays, eqn.params)
    return list(map(_constant, results if eqn.primitive.multiple_results else [results]))


def _scan(eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    body, length, reverse = (eqn.params[name] for name in ("jaxpr", "length", "reverse"))
    consts, carried = scan_parts(eqn)
    if length * steps(body) > _MOST_STEPS:
        return [LOST] * len(eqn.outvars)
    fixed, carry, xs = values[:consts], values[consts : consts + carried], values[consts + carried :]
    rows: list[list[Value]] = []
    for t in range(length)[:: -1 if reverse else 1]:
        results = run(body, [*fixed, *carry, *(mapped(partial(_row, t), x) for x in xs)])
        carry = results[:carried]
        rows.append(results[carried:])
    columns = zip(*(rows[::-1] if reverse else rows), strict=True)
    stacked = [joins.stacked(column, 0, v) for column, v in zip(columns, eqn.outvars[carried:], strict=False)]
    return [*carry, *stacked]


def _row(t: int, a: Array) -> Array:
    return np.asarray(a[t if len(a) > 1 else 0])


def _cond(eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    which, *operands = values
    branches = eqn.params["branches"]
    if isinstance(which, np.ndarray):
        return run(branches[min(max(int(which), 0), len(branches) - 1)], operands)
    results = zip(*(run(branch, operands) for branch in branches), strict=True)
    return [union([*result, _of_rank(which, v)]) for result, v in zip(results, eqn.outvars, strict=True)]


def _of_rank(scalar: Value, result: Any) -> Value:
    return mapped(lambda end: end.reshape((1,) * len(shape_of(result))), scalar)
