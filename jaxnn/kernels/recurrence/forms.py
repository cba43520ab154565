"""The forms of a recurrence, its tangents and its gradients, by platform.

CPUs keep both products of a step in the loop, and take the derivative in blocks that fit into the cache.
Other platforms compute the input's product, and all of the derivative that needs no tangent of the carry, for
all steps at once: large products suit them, and each step of a loop has a price.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.kernels.choice import Form
from jaxnn.kernels.lowering.operation import Mapped, over_members
from jaxnn.kernels.lowering.primitive import DEFAULT, Problem
from jaxnn.kernels.recurrence.cells import Cell
from jaxnn.kernels.recurrence.tangents import tangents
from jaxnn.kernels.recurrence.values import Operands, Values, hoisted, in_loop

#: The fewest gates per example in a block: enough for an efficient matrix product, few enough to stay in the
#: cache. 8 steps of an LSTM with H 256.
BLOCK = 8192


class Settings(NamedTuple):
    """A recurrence, without its arrays.

    Attributes:
      cell: one step.
      reverse: from the last step to the first.
      operands: the structure of what it reads, ``Operands``.
      values: the structure of what it computes, ``Values``.
      sums: shape and dtype of the gates' sums of one step.
      implementation: the form to take in each pass.
    """

    cell: Cell
    reverse: bool
    operands: Any
    values: Any
    sums: tuple[tuple[tuple[Any, ...], Any], ...]
    implementation: str | None


class Tangents(NamedTuple):
    """The tangents of a recurrence: ``along`` says which operands have one."""

    of: Settings
    along: tuple[bool, ...]

    @property
    def implementation(self) -> str | None:
        return self.of.implementation


class Gradients(NamedTuple):
    """The gradients of a recurrence in the operands that are ``wanted``, from cotangents of those ``given``.

    ``mapped`` is that of the recurrence: what an operand that isn't mapped gets from all members is summed.
    """

    of: Settings
    wanted: tuple[bool, ...]
    given: tuple[bool, ...]
    mapped: Mapped

    @property
    def implementation(self) -> str | None:
        return self.of.implementation


Length = Callable[[Operands], int]


def block_length(operands: Operands) -> int:
    """The length of blocks: it divides the number of steps."""
    steps, all_gates = operands.x.shape[1], operands.recurrent[0].shape[1]
    blocks = max(1, steps * all_gates // BLOCK)
    return next(steps // n for n in range(min(blocks, steps), 0, -1) if steps % n == 0)


def all_steps(operands: Operands) -> int:
    """The number of steps."""
    steps: int = operands.x.shape[1]
    return steps


def chosen(flags: Sequence[bool], items: Sequence[Any]) -> list[Any]:
    """The items whose flag is set."""
    return [item for flag, item in zip(flags, items, strict=True) if flag]


def filled(flags: Sequence[bool], items: Sequence[Any], otherwise: Callable[[int], Any]) -> list[Any]:
    """``items`` where a flag is set, and ``otherwise(place)`` elsewhere."""
    rest = iter(items)
    return [next(rest) if flag else otherwise(place) for place, flag in enumerate(flags)]


def nothing(a: jax.Array) -> Any:
    """The tangent 0 of an array."""
    if jnp.issubdtype(a.dtype, jnp.inexact):
        return jnp.zeros_like(a)
    return np.zeros(a.shape, jax.dtypes.float0)


def _values(form: Callable[..., Values], p: Problem, *leaves: jax.Array) -> list[jax.Array]:
    s: Settings = p.settings
    result: list[jax.Array] = jax.tree.leaves(form(s.cell, s.reverse, jax.tree.unflatten(s.operands, leaves)))
    return result


def _along(s: Settings, length: Length, leaves: Sequence[Any], values: Sequence[Any], along: Any) -> Any:
    """The tangents of the values along one tangent per operand."""
    operands, directions = (jax.tree.unflatten(s.operands, given) for given in (leaves, along))
    found = tangents(
        s.cell, s.reverse, length(operands), operands, jax.tree.unflatten(s.values, values), directions
    )
    return jax.tree.leaves(found)


def _tangents(length: Length, p: Problem, *arrays: jax.Array) -> Any:
    s: Tangents = p.settings
    count, of_all = len(s.along), len(s.along) + s.of.values.num_leaves
    leaves, values, given = arrays[:count], arrays[count:of_all], arrays[of_all:]
    along = filled(s.along, given, lambda place: nothing(leaves[place]))
    return _along(s.of, length, leaves, values, along)


def _gradients(length: Length, p: Problem, *arrays: jax.Array) -> Any:
    s: Gradients = p.settings
    count, of_all = len(s.wanted), len(s.wanted) + len(s.given)

    @jax.custom_jvp
    def known(leaves: Any, values: Any) -> Any:
        return values

    @known.defjvp
    def _known_jvp(primals: Any, directions: Any) -> Any:
        leaves, values = primals
        return values, _along(s.of, length, leaves, values, directions[0])

    def of_member(*arrays: jax.Array) -> Any:
        return known(list(arrays[:count]), list(arrays[count:]))

    def of_wanted(*wanted: jax.Array) -> Any:
        leaves = filled(s.wanted, wanted, lambda place: arrays[place])
        return chosen(s.given, over_members(of_member, s.mapped)(*leaves, *arrays[count:of_all]))

    _, pull = jax.vjp(of_wanted, *chosen(s.wanted, arrays[:count]))
    return list(pull(list(arrays[of_all:])))


def _both(compute: Callable[..., Any]) -> Mapping[str, Sequence[Form]]:
    blocks = Form("blocks", partial(compute, block_length))
    whole = Form("whole", partial(compute, all_steps))
    return {"cpu": (blocks, whole), DEFAULT: (whole, blocks)}


_IN_LOOP, _HOISTED = Form("in_loop", partial(_values, in_loop)), Form("hoisted", partial(_values, hoisted))
_PLAIN = _IN_LOOP._replace(name="lax")
VALUES = {"cpu": (_IN_LOOP, _HOISTED, _PLAIN), DEFAULT: (_HOISTED, _IN_LOOP, _PLAIN)}
TANGENTS = _both(_tangents)
GRADIENTS = _both(_gradients)
