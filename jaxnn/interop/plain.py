"""A program in JAX's own primitives alone, for tools that know no others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax.extend.core import JaxprEqn, Literal

from jaxnn.inspection.jaxprs import called, opened, scan_parts

#: What keeps XLA from fusing operations, and means nothing elsewhere.
BARRIER = "optimization_barrier"


def plain(function: Callable[[Any], Any], x: Any) -> Callable[[Any], Any]:
    """``function`` for inputs like ``x``, traced once, with each of jaxnn's primitives in its plain form.

    Calls are inlined, and convolutions have channels last.
    """
    program, result = jax.make_jaxpr(function, return_shape=True)(x)

    def run(x: Any) -> Any:
        return jax.tree.unflatten(jax.tree.structure(result), _evaluated(program, jax.tree.leaves(x)))

    return run


def _evaluated(program: Any, values: Sequence[Any]) -> list[Any]:
    jaxpr, consts = opened(program)
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *values], strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else known[atom]

    for eqn in jaxpr.eqns:
        results = _results(eqn, [read(atom) for atom in eqn.invars])
        known.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _results(eqn: JaxprEqn, values: Sequence[Any]) -> Sequence[Any]:
    name = eqn.primitive.name
    if call := called(eqn):
        return _evaluated(call[0], [values[place] for place in call[1]])
    if name == BARRIER:
        return values
    if name == "scan":
        return _scan(eqn, values)
    if name == "conv_general_dilated":
        return [_convolution(eqn.params, *values)]
    results = eqn.primitive.bind(*values, **eqn.params)
    return results if eqn.primitive.multiple_results else [results]


def _scan(eqn: JaxprEqn, values: Sequence[Any]) -> list[Any]:
    body, params = eqn.params["jaxpr"], eqn.params
    start, carried = scan_parts(eqn)
    end = start + carried
    fixed, carry, xs = values[:start], values[start:end], values[end:]

    def step(carry: list[Any], xs: list[Any]) -> tuple[list[Any], list[Any]]:
        results = _evaluated(body, [*fixed, *carry, *xs])
        return results[: len(carry)], results[len(carry) :]

    last, ys = lax.scan(step, list(carry), list(xs), length=params["length"], reverse=params["reverse"])
    return [*last, *ys]


def _convolution(params: dict[str, Any], x: jax.Array, kernel: jax.Array) -> jax.Array:
    numbers = params["dimension_numbers"]
    rank = x.ndim - 2
    space = "".join(chr(ord("a") + axis) for axis in range(rank))
    lhs, rhs, out = (tuple(order) for order in (numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec))
    y = lax.conv_general_dilated(
        lax.transpose(x, (lhs[0], *lhs[2:], lhs[1])),
        lax.transpose(kernel, (*rhs[2:], rhs[1], rhs[0])),
        params["window_strides"],
        params["padding"],
        params["lhs_dilation"],
        params["rhs_dilation"],
        (f"N{space}C", f"{space}IO", f"N{space}C"),
        params["feature_group_count"],
        params["batch_group_count"],
        params["precision"],
        params["preferred_element_type"],
    )
    # y has (N, *space, C) and is to have these at the places that out names.
    order = sorted(range(y.ndim), key=lambda axis: (out[0], *out[2:], out[1])[axis])
    return lax.transpose(y, order)
