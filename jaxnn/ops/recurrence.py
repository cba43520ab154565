"""A recurrence over time, and its derivative.

The plain form, one ``lax.scan`` over all steps, is slow in its derivative: it adds to the weights' gradient
at every step, and stores every gate. Here the sequence is cut into blocks. In each, the products that need no
carry are one matrix product: the input's ahead of the steps and, in the derivative, those of all weights
after them. A block's gates fit into the cache and are computed anew for the derivative, from its input and
the stored carries, without going through the steps again.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from jaxnn.ops.cells import Cell, gates

#: Steps in a block: enough for an efficient matrix product, few enough for the gates to stay in the cache.
BLOCK = 16

Weights = tuple[jax.Array, jax.Array | None]


def over_time(
    cell: Cell,
    input_gates: Callable[[jax.Array], jax.Array],
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
      input_gates: the input's share of the gates: (N, k, F) → (N, k, gates·H).
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

    # A scan wants its first carry sharded, and varying over the axes of a shard_map, as all later ones are.
    # Zeros made from what the cell gives are; nothing else of the cell is left in the compiled program.
    def first_total(carry: Any) -> Any:
        return cell.total(input_gates(x[:, :1])[:, 0], gates(jax.tree.leaves(carry)[0], *recurrent))

    like = cell.step(carry, first_total(carry))
    carry = jax.tree.map(lambda c, like: c + jnp.zeros_like(like), carry, like)
    # An activation may close over a traced value, which a custom derivative has to be told about.
    step, closed_over = jax.closure_convert(cell.step, carry, first_total(carry))
    cell = cell._replace(step=step)
    # For the derivative, whose product is twice as fast with the rows in a row.
    transposed = recurrent[0].T

    # Of what a block computes, only its carries are stored; the rest is made again.
    @partial(
        jax.checkpoint, prevent_cse=False, policy=jax.checkpoint_policies.save_only_these_names("carries")
    )
    def block(carry: Any, now: tuple[jax.Array, jax.Array | None]) -> tuple[Any, jax.Array]:
        x, real = now
        outputs, carry = _steps(
            cell, reverse, input_gates(x), recurrent, transposed, closed_over, carry, _by_time(real)
        )
        return carry, _by_time(outputs)

    rest = x.shape[1] % BLOCK
    whole, part = _blocks((x, real), rest)
    if whole is None:
        carry, outputs = block(carry, part)
        return outputs, carry
    if reverse and rest:
        carry, last = block(carry, part)
    carry, outputs = lax.scan(block, carry, whole, reverse=reverse)
    outputs = jnp.swapaxes(outputs, 0, 1)
    outputs = lax.reshape(outputs, (x.shape[0], x.shape[1] - rest, outputs.shape[-1]))
    if not rest:
        return outputs, carry
    if not reverse:
        carry, last = block(carry, part)
    return jnp.concatenate([outputs, last], axis=1), carry


def _blocks(sequences: Any, rest: int) -> tuple[Any, Any]:
    """Arrays (N, T, ...) as blocks (T // BLOCK, N, BLOCK, ...), if there are any, and the ``rest`` steps."""

    def whole(a: jax.Array) -> jax.Array:
        steps = a.shape[1] - rest
        blocks = lax.reshape(a[:, :steps], (a.shape[0], steps // BLOCK, BLOCK, *a.shape[2:]))
        return jnp.swapaxes(blocks, 0, 1)

    some = jax.tree.leaves(sequences)[0].shape[1] >= BLOCK
    part = jax.tree.map(lambda a: a[:, a.shape[1] - rest :], sequences)
    return (jax.tree.map(whole, sequences) if some else None), part


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _steps(
    cell: Cell,
    reverse: bool,
    inputs: jax.Array,
    recurrent: Weights,
    transposed: jax.Array,
    closed_over: Any,
    carry: Any,
    real: jax.Array | None,
) -> tuple[jax.Array, Any]:
    """The outputs (k, N, H) of k steps and the last carry, from inputs (N, k, gates·H) and real (k, N, 1)."""
    del transposed
    carries, final = _carries(cell, reverse, inputs, recurrent, closed_over, carry, real)
    return jax.tree.leaves(carries)[0], final


@_steps.defjvp
def _steps_jvp(cell: Cell, reverse: bool, primals: Any, tangents: Any) -> Any:
    """The tangents go through the steps, and nothing else does.

    With all carries at hand, the gates of all steps are one product; so is the kernel's tangent in them, and
    with it, in reverse mode, the kernel's gradient.
    """
    inputs, recurrent, transposed, closed_over, carry, real = primals
    d_inputs, d_recurrent, _, d_closed_over, d_carry, _ = tangents
    carries, final = checkpoint_name(
        _carries(cell, reverse, inputs, recurrent, closed_over, carry, real), "carries"
    )
    before = jax.tree.map(partial(_shifted, reverse=reverse), carries, carry)
    h = _by_time(jax.tree.leaves(before)[0])
    shares = gates(h, *recurrent)
    _, d_shares = jax.jvp(partial(gates, h), recurrent, d_recurrent)
    totals, d_totals = _by_time(cell.total(inputs, shares)), _by_time(cell.total(d_inputs, d_shares))

    # All but the tangents is made anew in each step of reverse mode, rather than stored for all steps.
    @partial(jax.checkpoint, prevent_cse=False)
    def step(d_carry: Any, now: Any) -> tuple[Any, jax.Array]:
        carry, total, d_total, going = now
        d_h = jax.tree.leaves(d_carry)[0].astype(transposed.dtype)
        contracted = (((1,), (1,)), ((), ()))
        d_share = lax.dot_general(d_h, transposed, contracted, preferred_element_type=inputs.dtype)
        d_total = jax.tree.map(jnp.add, d_total, cell.total(jnp.zeros_like(d_share), d_share))
        _, d_carry = jax.jvp(
            lambda closed, carry, total: _masked(cell, closed, carry, total, going),
            (closed_over, carry, total),
            (d_closed_over, d_carry, d_total),
        )
        return d_carry, jax.tree.leaves(d_carry)[0]

    d_final, d_outputs = lax.scan(step, d_carry, (before, totals, d_totals, real), reverse=reverse)
    return (jax.tree.leaves(carries)[0], final), (d_outputs, d_final)


def _carries(
    cell: Cell,
    reverse: bool,
    inputs: jax.Array,
    recurrent: Weights,
    closed_over: Any,
    carry: Any,
    real: jax.Array | None,
) -> tuple[Any, Any]:
    """The carry after each of the k steps, arrays (k, N, H), and after the last one."""
    last = inputs.shape[1] - 1

    def at(t: jax.Array | int) -> tuple[jax.Array, jax.Array | None]:
        going = None if real is None else lax.dynamic_index_in_dim(real, t, 0, keepdims=False)
        return lax.dynamic_index_in_dim(inputs, t, 1, keepdims=False), going

    def step(state: tuple[Any, Any], t: jax.Array) -> tuple[tuple[Any, Any], Any]:
        carry, (now, going) = state
        total = cell.total(now, gates(jax.tree.leaves(carry)[0], *recurrent))
        carry = _masked(cell, closed_over, carry, total, going)
        # A slice that is read where it is used keeps XLA's CPU code from being vectorised, and the gates
        # then take twice as long as the product. Read one step ahead, it is a copy of its own.
        return (carry, at(jnp.clip(t - 1 if reverse else t + 1, 0, last))), carry

    steps = jnp.arange(last + 1, dtype=jnp.int32)
    (final, _), carries = lax.scan(step, (carry, at(last if reverse else 0)), steps, reverse=reverse)
    return carries, final


def _masked(cell: Cell, closed_over: Any, carry: Any, total: Any, going: jax.Array | None) -> Any:
    """The carry after one step, or as it was where the sequence is not going on."""
    following = cell.step(carry, total, *closed_over)
    if going is None:
        return following
    return jax.tree.map(lambda new, old: jnp.where(going, new, old), following, carry)


def _shifted(after: jax.Array, first: jax.Array, reverse: bool) -> jax.Array:
    """What stood before each step, from what stands after each, and before the first."""
    first = jnp.expand_dims(first, 0)
    return jnp.concatenate([after[1:], first] if reverse else [first, after[:-1]])


def _by_time(arrays: Any) -> Any:
    """(N, k, ...) ↔ (k, N, ...)."""
    return jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), arrays)
