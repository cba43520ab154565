"""The derivative of a recurrence over time.

The automatic derivative of a scan would add to the weights' gradients at every step, and store all that each
gate is computed from. Here the gates' sums are stored, with as much of the carries as can't be recomputed
from them, and time is split into blocks. All that needs no tangent of the carry is done for a whole block:
the slopes of the gates and, in reverse mode after the steps, the gradients of the input and of all weights,
each as one product. A step is left with one product and a few multiplications.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.kernels.recurrence.cells import Cell, gates
from jaxnn.kernels.recurrence.values import Operands, Values, by_time, where


def tangents(
    cell: Cell, reverse: bool, length: int, operands: Operands, values: Values, directions: Operands
) -> Values:
    """The tangents of ``values`` along ``directions``, in which they are linear.

    They are computed in blocks of ``length`` steps. Tangents go through the steps, and nothing else does.
    """
    x, weights, recurrent, closed_over, first, real = operands
    d_x, d_weights, d_recurrent, d_closed_over, d_carry, _ = directions
    outputs, _, rests, sums = values
    steps = x.shape[1]
    # For reverse mode, whose product is twice as fast with contiguous rows.
    transposed = recurrent[0].T

    def step(d_carry: Any, now: Any) -> tuple[Any, Any]:
        slopes, d_sums, d_else, going = now
        d_h, *d_rest = jax.tree.leaves(d_carry)
        contracted = (((1,), (1,)), ((), ()))
        wide = jax.tree.leaves(d_sums)[0].dtype
        d_share = lax.dot_general(
            d_h.astype(transposed.dtype), transposed, contracted, preferred_element_type=wide
        )
        d_sums = jax.tree.map(jnp.add, d_sums, cell.sums(jnp.zeros_like(d_share), d_share))
        following = cell.tangent(slopes, d_carry, d_sums)
        if closed_over:
            following = jax.tree.map(jnp.add, following, d_else)
        following = where(going, following, d_carry)
        return following, (jax.tree.leaves(following)[0], d_rest, d_sums)

    # The operands of a block's products are recomputed in reverse mode, rather than stored for all steps.
    @partial(jax.checkpoint, prevent_cse=False)
    def block(d_carry: Any, now: Any) -> tuple[Any, Any]:
        at, edge, d_x, rest, sums, real = now
        x_now, h = (by_time(lax.dynamic_slice_in_dim(a, at, length, 1)) for a in (x, outputs))

        def step_of(closed_over: Any) -> Any:
            return lambda carry, sums: cell.step(carry, sums, *closed_over)

        def carries(h: jax.Array) -> Any:
            return jax.tree.unflatten(jax.tree.structure(first), [h, *rest])

        if not cell.reads_h:
            # Recomputed, so that the outputs need not be kept. Backwards, h waits at its initial value.
            h = jax.tree.leaves(jax.vmap(step_of(closed_over))(carries(h), sums))[0]
            h = where(real, h, jnp.broadcast_to(jax.tree.leaves(first)[0], h.shape))
        edge = jnp.expand_dims(edge, 0)
        h_before = jnp.concatenate([h[1:], edge] if reverse else [edge, h[:-1]])
        before = carries(h_before)

        slopes = jax.vmap(partial(cell.slopes, step_of(closed_over)))(before, sums)
        d_else = None
        if closed_over:
            _, d_else = jax.jvp(
                lambda closed: jax.vmap(step_of(closed))(before, sums), (closed_over,), (d_closed_over,)
            )
        _, d_inputs = jax.jvp(gates, (x_now, *weights), (d_x, *d_weights))
        _, d_shares = jax.jvp(partial(gates, h_before), recurrent, d_recurrent)
        d_sums_of_block = cell.sums(d_inputs, d_shares)
        return lax.scan(step, d_carry, (slopes, d_sums_of_block, d_else, real), reverse=reverse)

    def cut(a: jax.Array) -> jax.Array:
        return lax.reshape(a, (steps // length, length, *a.shape[1:]))

    starts = jnp.arange(0, steps, length, dtype=jnp.int32)
    edges = _edges(jax.tree.leaves(first)[0], outputs, length, reverse=reverse)
    d_x, rests, sums, real = jax.tree.map(cut, (by_time(d_x), rests, sums, real))
    d_final, d_rest = lax.scan(block, d_carry, (starts, edges, d_x, rests, sums, real), reverse=reverse)
    d_outputs, *d_stored = jax.tree.map(lambda a: lax.reshape(a, (steps, *a.shape[2:])), d_rest)
    return Values(by_time(d_outputs), d_final, *d_stored)


def _edges(first: jax.Array, outputs: jax.Array, length: int, *, reverse: bool) -> jax.Array:
    """h before the first step of each block of ``length`` steps, in the order they run: (blocks, N, H)."""
    steps = outputs.shape[1]
    first = jnp.expand_dims(first, 0)
    if reverse:
        return jnp.concatenate([by_time(lax.slice_in_dim(outputs, length, steps, length, 1)), first])
    return jnp.concatenate([first, by_time(lax.slice_in_dim(outputs, length - 1, steps - 1, length, 1))])
