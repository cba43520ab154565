"""Reads programs traced by JAX, where JAX versions differ or more than one module needs it."""

from collections.abc import Sequence
from typing import Any

from jax.extend.core import Jaxpr, JaxprEqn

from jaxnn.kernels.lowering.meaning import plain_program

#: Primitives that run a program on their operands, and the name of the setting that holds it.
_CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}


def opened(jaxpr: Any) -> tuple[Jaxpr, Sequence[Any]]:
    """A program and its constants, for closed and open programs."""
    return getattr(jaxpr, "jaxpr", jaxpr), getattr(jaxpr, "consts", ())


def shape_of(atom: Any) -> tuple[int, ...]:
    """The shape of an input or output of an equation."""
    return atom.aval.shape


def called(eqn: JaxprEqn) -> tuple[Any, list[int]] | None:
    """The program that an equation runs once, and the operands it is given; None if it is not a call."""
    name = eqn.primitive.name
    if name in _CALLS:
        return eqn.params[_CALLS[name]], list(range(len(eqn.invars)))
    if program := plain_program(eqn):
        return program, list(range(len(eqn.invars)))
    if name == "custom_linear_solve":
        # Its operands: constants of the map, of its transpose, of the two solvers, and what is solved for.
        consts = eqn.params["const_lengths"]
        start = consts.matvec + consts.vecmat
        solve = range(start, start + consts.solve)
        solved = range(start + consts.solve + consts.transpose_solve, len(eqn.invars))
        return eqn.params["jaxprs"].solve, [*solve, *solved]
    return None


def scan_parts(eqn: JaxprEqn) -> tuple[int, int]:
    """How many of a scan's operands are constants, and how many its carry.

    Found from the shapes: what is scanned over or stacked has one axis more outside than inside.
    """
    body, _ = opened(eqn.params["jaxpr"])
    sliced, stacked = (
        sum(len(shape_of(a)) > len(shape_of(b)) for a, b in zip(outside, inside, strict=True))
        for outside, inside in ((eqn.invars, body.invars), (eqn.outvars, body.outvars))
    )
    carry = len(eqn.outvars) - stacked
    return len(eqn.invars) - carry - sliced, carry


def steps(jaxpr: Any) -> int:
    """How many equations a program runs one after the other, including those of its calls and scans."""
    total = 0
    for eqn in opened(jaxpr)[0].eqns:
        if call := called(eqn):
            total += steps(call[0])
        elif eqn.primitive.name == "scan":
            total += eqn.params["length"] * steps(eqn.params["jaxpr"])
        else:
            total += 1
    return total
