"""The meaning of jaxnn's primitives: for each a program of JAX's own primitives that computes the same.

Code that reads programs, to count operations or to follow values, needs no rules for jaxnn's primitives: it
treats an equation of one of them as a call of that program.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, JaxprEqn, Primitive

#: ``flops(operands, result) -> number``, from their types.
Flops = Callable[[Sequence[Any], Any], Any]


class Meaning(NamedTuple):
    """What a primitive computes, and at what cost.

    Attributes:
      plain: ``plain(*operands, **params) -> result``.
      flops: the number of floating-point operations; None where it is that of ``plain``.
    """

    plain: Callable[..., Any]
    flops: Flops | None = None


#: The meaning of every primitive of jaxnn.
MEANINGS: dict[Primitive, Meaning] = {}


def plain_program(eqn: JaxprEqn) -> ClosedJaxpr | None:
    """The program that an equation of one of jaxnn's primitives stands for; None if it is of another."""
    if eqn.primitive not in MEANINGS:
        return None
    types = tuple[Any, ...](v.aval for v in eqn.invars)
    result: Any = eqn.outvars[0].aval
    return _traced(eqn.primitive, types, tuple(eqn.params.items()), result.sharding.mesh)


def given_flops(eqn: JaxprEqn) -> Any | None:
    """The cost that a primitive of jaxnn was registered with; None if there is none."""
    meaning = MEANINGS.get(eqn.primitive)
    if meaning is None or meaning.flops is None:
        return None
    return meaning.flops([v.aval for v in eqn.invars], eqn.outvars[0].aval)


# The body of a scan is followed once per step, and nets repeat their layers.
@lru_cache(maxsize=256)
def _traced(
    primitive: Primitive, types: tuple[Any, ...], params: tuple[tuple[str, Any], ...], mesh: Any
) -> ClosedJaxpr:
    specs = (jax.ShapeDtypeStruct(t.shape, t.dtype, sharding=t.sharding) for t in types)
    with jax.sharding.use_abstract_mesh(mesh):  # explicit shardings refer to it
        return jax.make_jaxpr(lambda *operands: MEANINGS[primitive].plain(*operands, **dict(params)))(*specs)
