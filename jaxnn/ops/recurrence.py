"""A recurrence over time, and its derivative.

The values are the plain ``lax.scan`` over all steps. Its automatic derivative adds to the weights' gradients
at every step, and stores all that each gate is made of. Here the carries and the gates are stored, no more,
and time is cut into blocks, in which the products that need no tangent of the carry are one: in reverse mode
the gradients of the input and of all weights, after the steps. A step is left with a single product.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.ops.cells import Cell, gates

#: Steps in a block, at least: enough for an efficient matrix product, few enough to stay in the cache.
BLOCK = 16

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
      recurrent: those of the carry's share, (H, gates·H) and (gates·H,) or None.
      carry: the initial one, arrays (N, H). The first is the output.
      x: (N, T, F).
      real: (N, T, 1), False where a step lies past the end: there the carry stays. Going backwards, the carry
        thus waits at its initial value for the sequence's last step: each sequence is reversed within its own
        length.
      reverse: from the last step to the first. Outputs stand where their inputs stand.

    Returns:
      The first array of the carry after each step, (N, T, H), and the final carry.
    """

    # A scan wants its first carry sharded, and varying over the axes of a shard_map, as all later ones are.
    # Zeros made from what the cell gives are; nothing else of the cell is left in the compiled program.
    def first_total(carry: Any) -> Any:
        return cell.total(gates(x[:, 0], *weights), gates(jax.tree.leaves(carry)[0], *recurrent))

    like = cell.step(carry, first_total(carry))
    carry = jax.tree.map(lambda c, like: c + jnp.zeros_like(like), carry, like)
    # An activation may close over a traced value, which a custom derivative has to be told about.
    step, closed_over = jax.closure_convert(cell.step, carry, first_total(carry))
    x, real = _by_time((x, real))
    final, before, _ = _steps(
        cell._replace(step=step), reverse, x, weights, recurrent, closed_over, carry, real
    )
    h, last = (jax.tree.leaves(carries)[0] for carries in (before, final))
    last = jnp.expand_dims(last, 0)
    return _by_time(jnp.concatenate([last, h[:-1]] if reverse else [h[1:], last])), final


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
) -> tuple[Any, Any, Any]:
    """The final carry; and for each step of x (T, N, F) the carry before it and the gates' sums.

    What of this nothing asks for, XLA leaves out.
    """

    def step(carry: Any, now: tuple[jax.Array, jax.Array | None]) -> tuple[Any, Any]:
        x, going = now
        total = cell.total(gates(x, *weights), gates(jax.tree.leaves(carry)[0], *recurrent))
        return _masked(cell, closed_over, carry, total, going), (carry, total)

    # Both products in the loop: a slice of a product for all steps, fused into the gates, would keep XLA's
    # CPU code from being vectorised, and the gates then take twice as long as the product.
    final, (before, totals) = lax.scan(step, carry, (x, real), reverse=reverse)
    return final, before, totals


@_steps.defjvp
def _steps_jvp(cell: Cell, reverse: bool, primals: Any, tangents: Any) -> Any:
    """The tangents go through the steps, and nothing else does."""
    x, weights, recurrent, closed_over, _, real = primals
    d_x, d_weights, d_recurrent, d_closed_over, d_carry, _ = tangents
    values = _steps(cell, reverse, *primals)
    # In reverse mode, whose product is twice as fast with the rows in a row.
    transposed = recurrent[0].T

    # All but the tangents is made anew in each step of reverse mode, rather than stored for all steps.
    @partial(jax.checkpoint, prevent_cse=False)
    def step(d_carry: Any, now: Any) -> tuple[Any, Any]:
        carry, total, d_total, going = now
        d_h = jax.tree.leaves(d_carry)[0].astype(transposed.dtype)
        contracted = (((1,), (1,)), ((), ()))
        wide = jax.tree.leaves(total)[0].dtype
        d_share = lax.dot_general(d_h, transposed, contracted, preferred_element_type=wide)
        d_total = jax.tree.map(jnp.add, d_total, cell.total(jnp.zeros_like(d_share), d_share))
        _, following = jax.jvp(
            lambda closed, carry, total: _masked(cell, closed, carry, total, going),
            (closed_over, carry, total),
            (d_closed_over, d_carry, d_total),
        )
        return following, (d_carry, d_total)

    # Likewise what a block's products are made of.
    @partial(jax.checkpoint, prevent_cse=False)
    def block(d_carry: Any, now: Any) -> tuple[Any, Any]:
        x, d_x, before, totals, real = now
        _, d_inputs = jax.jvp(gates, (x, *weights), (d_x, *d_weights))
        _, d_shares = jax.jvp(partial(gates, jax.tree.leaves(before)[0]), recurrent, d_recurrent)
        d_totals = cell.total(d_inputs, d_shares)
        return lax.scan(step, d_carry, (before, totals, d_totals, real), reverse=reverse)

    d_final, d_rest = lax.scan(block, d_carry, _cut((x, d_x, *values[1:], real)), reverse=reverse)
    d_rest = jax.tree.map(lambda a: lax.reshape(a, (x.shape[0], *a.shape[2:])), d_rest)
    return values, (d_final, *d_rest)


def _cut(arrays: Any) -> Any:
    """(T, ...) as blocks of one length, as short as ``BLOCK`` allows: (blocks, T / blocks, ...)."""

    def cut(a: jax.Array) -> jax.Array:
        steps = a.shape[0]
        blocks = next(n for n in range(max(1, steps // BLOCK), 0, -1) if steps % n == 0)
        return lax.reshape(a, (blocks, steps // blocks, *a.shape[1:]))

    return jax.tree.map(cut, arrays)


def _masked(cell: Cell, closed_over: Any, carry: Any, total: Any, going: jax.Array | None) -> Any:
    """The carry after one step, or as it was where the sequence is not going on."""
    following = cell.step(carry, total, *closed_over)
    if going is None:
        return following
    return jax.tree.map(lambda new, old: jnp.where(going, new, old), following, carry)


def _by_time(arrays: Any) -> Any:
    """(N, T, ...) ↔ (T, N, ...)."""
    return jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), arrays)
