"""A recurrence over time, and its derivative.

The values come from a plain ``lax.scan`` over all steps. Its automatic derivative would add to the weights'
gradients at every step, and store all that each gate is computed from. Here the gates' sums are stored, with
as much of the carries as can't be recomputed from them, and time is split into blocks. All that needs no
tangent of the carry is done for a whole block: the slopes of the gates and, in reverse mode after the steps,
the gradients of the input and of all weights, each as one product. A step is left with one product and a few
multiplications.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.kernels.recurrence.cells import Cell, gates

#: The fewest gates per example in a block: enough for an efficient matrix product, few enough to stay in the
#: cache.
BLOCK = 8192

Weights = tuple[jax.Array, jax.Array | None]


def over_time(
    cell: Cell,
    weights: Weights,
    recurrent: Weights,
    carry: Any,
    x: jax.Array,
    real: jax.Array | None,
    *,
    reverse: bool,
) -> tuple[jax.Array, Any]:
    """Runs ``cell`` over the steps of ``x: (N, T, F)``, T at least 1.

    Args:
      cell: one step.
      weights: the kernel and the bias of the input's share of the gates, (F, gates·H) and (gates·H,) or None.
      recurrent: the kernel and the bias of the carry's share, (H, gates·H) and (gates·H,) or None.
      carry: the initial one, arrays (N, H). The first is the output.
      x: (N, T, F).
      real: (N, T, 1), False where a step lies past the end: there the carry stays. Going backwards, the carry
        thus waits at its initial value for the sequence's last step: each sequence is reversed within its own
        length.
      reverse: from the last step to the first. Outputs stand where their inputs stand.

    Returns:
      The first array of the carry after each step, (N, T, H), and the final carry.
    """

    # A scan's first carry must be sharded, and vary over the axes of a shard_map, as all later ones do. Zeros
    # made from a result of the cell do so; nothing else of that call is left in the compiled program.
    def first_total(carry: Any) -> Any:
        return cell.total(gates(x[:, 0], *weights), gates(jax.tree.leaves(carry)[0], *recurrent))

    like = cell.step(carry, first_total(carry))
    carry = jax.tree.map(lambda c, like: c + jnp.zeros_like(like), carry, like)
    # An activation may close over a traced value, which a custom derivative must take as an argument.
    step, closed_over = jax.closure_convert(cell.step, carry, first_total(carry))
    real = None if real is None else _by_time(real)
    outputs, final, _ = _steps(
        cell._replace(step=step), reverse, x, weights, recurrent, closed_over, carry, real
    )
    return outputs, final


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _steps(
    cell: Cell,
    reverse: bool,
    x: jax.Array,
    weights: Weights,
    recurrent: Weights,
    closed_over: Any,
    carry: Any,
    real: jax.Array | None,
) -> tuple[jax.Array, Any, Any]:
    """The outputs (N, T, H); the final carry; and what the derivative needs of each step, (T, N, ...).

    That is the rest of the carry before the step, and the gates' sums. XLA leaves out what nothing reads.
    """

    def step(carry: Any, now: tuple[jax.Array, jax.Array | None]) -> tuple[Any, Any]:
        t, going = now
        h, *rest = jax.tree.leaves(carry)
        x_now = lax.dynamic_index_in_dim(x, t, 1, keepdims=False)
        total = cell.total(gates(x_now, *weights), gates(h, *recurrent))
        carry = _where(going, cell.step(carry, total, *closed_over), carry)
        return carry, (jax.tree.leaves(carry)[0], rest, total)

    # Both products in the loop: a slice of a product for all steps, fused into the gates, would keep XLA's
    # CPU code from being vectorised, and to store it first takes as long as it saves.
    times = jnp.arange(x.shape[1], dtype=jnp.int32)
    final, (outputs, *stored) = lax.scan(step, carry, (times, real), reverse=reverse)
    return _by_time(outputs), final, tuple(stored)


@_steps.defjvp
def _steps_jvp(cell: Cell, reverse: bool, primals: Any, tangents: Any) -> Any:
    """The tangents go through the steps, and nothing else does."""
    x, weights, recurrent, closed_over, first, real = primals
    d_x, d_weights, d_recurrent, d_closed_over, d_carry, _ = tangents
    values = _steps(cell, reverse, *primals)
    outputs, _, (rests, totals) = values
    steps = x.shape[1]
    blocks = max(1, steps * recurrent[0].shape[1] // BLOCK)
    length = next(steps // n for n in range(min(blocks, steps), 0, -1) if steps % n == 0)
    # For reverse mode, whose product is twice as fast with contiguous rows.
    transposed = recurrent[0].T

    def step(d_carry: Any, now: Any) -> tuple[Any, Any]:
        slopes, d_total, d_else, going = now
        d_h, *d_rest = jax.tree.leaves(d_carry)
        contracted = (((1,), (1,)), ((), ()))
        wide = jax.tree.leaves(d_total)[0].dtype
        d_share = lax.dot_general(
            d_h.astype(transposed.dtype), transposed, contracted, preferred_element_type=wide
        )
        d_total = jax.tree.map(jnp.add, d_total, cell.total(jnp.zeros_like(d_share), d_share))
        following = cell.tangent(slopes, d_carry, d_total)
        if closed_over:
            following = jax.tree.map(jnp.add, following, d_else)
        following = _where(going, following, d_carry)
        return following, (jax.tree.leaves(following)[0], d_rest, d_total)

    # The operands of a block's products are recomputed in reverse mode, rather than stored for all steps.
    @partial(jax.checkpoint, prevent_cse=False)
    def block(d_carry: Any, now: Any) -> tuple[Any, Any]:
        at, edge, d_x, rest, total, real = now
        x_now, h = (_by_time(lax.dynamic_slice_in_dim(a, at, length, 1)) for a in (x, outputs))

        def step_of(closed_over: Any) -> Any:
            return lambda carry, total: cell.step(carry, total, *closed_over)

        def carries(h: jax.Array) -> Any:
            return jax.tree.unflatten(jax.tree.structure(first), [h, *rest])

        if not cell.reads_h:
            # Recomputed, so that the outputs need not be kept. Backwards, h waits at its initial value.
            h = jax.tree.leaves(jax.vmap(step_of(closed_over))(carries(h), total))[0]
            h = _where(real, h, jnp.broadcast_to(jax.tree.leaves(first)[0], h.shape))
        edge = jnp.expand_dims(edge, 0)
        h_before = jnp.concatenate([h[1:], edge] if reverse else [edge, h[:-1]])
        before = carries(h_before)

        slopes = jax.vmap(partial(cell.slopes, step_of(closed_over)))(before, total)
        d_else = None
        if closed_over:
            _, d_else = jax.jvp(
                lambda closed: jax.vmap(step_of(closed))(before, total), (closed_over,), (d_closed_over,)
            )
        _, d_inputs = jax.jvp(gates, (x_now, *weights), (d_x, *d_weights))
        _, d_shares = jax.jvp(partial(gates, h_before), recurrent, d_recurrent)
        d_totals = cell.total(d_inputs, d_shares)
        return lax.scan(step, d_carry, (slopes, d_totals, d_else, real), reverse=reverse)

    def cut(a: jax.Array) -> jax.Array:
        return lax.reshape(a, (steps // length, length, *a.shape[1:]))

    starts = jnp.arange(0, steps, length, dtype=jnp.int32)
    edges = _edges(jax.tree.leaves(first)[0], outputs, length, reverse=reverse)
    d_x, rests, totals, real = jax.tree.map(cut, (_by_time(d_x), rests, totals, real))
    d_final, d_rest = lax.scan(block, d_carry, (starts, edges, d_x, rests, totals, real), reverse=reverse)
    d_outputs, *d_stored = jax.tree.map(lambda a: lax.reshape(a, (steps, *a.shape[2:])), d_rest)
    return values, (_by_time(d_outputs), d_final, tuple(d_stored))


def _edges(first: jax.Array, outputs: jax.Array, length: int, *, reverse: bool) -> jax.Array:
    """h before the first step of each block of ``length`` steps, in the order they run: (blocks, N, H)."""
    steps = outputs.shape[1]
    first = jnp.expand_dims(first, 0)
    if reverse:
        return jnp.concatenate([_by_time(lax.slice_in_dim(outputs, length, steps, length, 1)), first])
    return jnp.concatenate([first, _by_time(lax.slice_in_dim(outputs, length - 1, steps - 1, length, 1))])


def _where(going: jax.Array | None, following: Any, carry: Any) -> Any:
    """The carry after one step, unchanged where the sequence has ended."""
    if going is None:
        return following
    return jax.tree.map(lambda new, old: jnp.where(going, new, old), following, carry)


def _by_time(a: jax.Array) -> jax.Array:
    """(N, T, ...) ↔ (T, N, ...)."""
    return jnp.swapaxes(a, 0, 1)
