"""The values of a recurrence over time: a scan over all steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.kernels.recurrence.cells import Cell, gates

Weights = tuple[jax.Array, jax.Array | None]


class Operands(NamedTuple):
    """What a recurrence reads.

    Attributes:
      x: (N, T, F).
      weights: the kernel and the bias of the input's share of the gates, (F, gates·H) and (gates·H,) or None.
      recurrent: the kernel and the bias of the carry's share, (H, gates·H) and (gates·H,) or None.
      closed_over: values that the step reads beside its arguments.
      carry: before the first step, arrays (N, H). The first is the output.
      real: (T, N, 1), False where a step lies past the end: there the carry stays; or None.
    """

    x: Any
    weights: Any
    recurrent: Any
    closed_over: Any
    carry: Any
    real: Any


class Values(NamedTuple):
    """What a recurrence computes.

    Attributes:
      outputs: the first array of the carry after each step, (N, T, H).
      final: the carry after the last step.
      rests: the other arrays of the carry before each step, (T, N, H), for the derivative.
      sums: the gates' sums of each step, (T, N, ...), for the derivative. XLA leaves out what nothing reads.
    """

    outputs: Any
    final: Any
    rests: Any
    sums: Any


def in_loop(cell: Cell, reverse: bool, operands: Operands) -> Values:
    """Both products of a step in the loop.

    On CPUs a slice of a product for all steps, fused into the gates, would keep XLA's code from being
    vectorised, and to materialize it first takes as long as it saves.
    """
    x, weights = operands.x, operands.weights

    def share(t: Any) -> jax.Array:
        return gates(lax.dynamic_index_in_dim(x, t, 1, keepdims=False), *weights)

    return _scan(cell, reverse, operands, jnp.arange(x.shape[1], dtype=jnp.int32), share)


def hoisted(cell: Cell, reverse: bool, operands: Operands) -> Values:
    """The input's product for all steps at once, before the loop."""
    return _scan(cell, reverse, operands, by_time(gates(operands.x, *operands.weights)), lambda share: share)


def _scan(
    cell: Cell, reverse: bool, operands: Operands, steps: jax.Array, share: Callable[[Any], jax.Array]
) -> Values:
    """``share`` makes the input's share of the gates from an element of ``steps``."""
    _, _, recurrent, closed_over, first, real = operands

    def step(carry: Any, now: tuple[jax.Array, jax.Array | None]) -> tuple[Any, Any]:
        of_step, going = now
        h, *rest = jax.tree.leaves(carry)
        sums = cell.sums(share(of_step), gates(h, *recurrent))
        carry = where(going, cell.step(carry, sums, *closed_over), carry)
        return carry, (jax.tree.leaves(carry)[0], rest, sums)

    final, (outputs, rests, sums) = lax.scan(step, first, (steps, real), reverse=reverse)
    return Values(by_time(outputs), final, rests, sums)


def where(going: jax.Array | None, following: Any, carry: Any) -> Any:
    """The carry after one step, unchanged where the sequence has ended."""
    if going is None:
        return following
    return jax.tree.map(lambda new, old: jnp.where(going, new, old), following, carry)


def by_time(a: jax.Array) -> jax.Array:
    """(N, T, ...) ↔ (T, N, ...)."""
    return jnp.swapaxes(a, 0, 1)
