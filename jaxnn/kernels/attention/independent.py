"""Guards forms that multiply weights of 0 by values that are not read, so that these can't spoil others.

Where each query reads keys of its own, a product over a block also holds the others, with weight 0, and
0 · NaN and 0 · ∞ are NaN. Finite operands can't give these, so they are tested by their sum. If it isn't
finite, examples and heads with such values are computed again, without those terms; all others stay as they
are, to the bit.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.kernels.attention.problem import Problem, zeros_past

Results = Any


def guarded(
    p: Problem,
    fast: Callable[..., Results],
    exact: Callable[..., Results],
    operands: Sequence[jax.Array],
    tested: Sequence[tuple[int, str | None]],
    statistics: Sequence[int] = (),
) -> Results:
    """``fast(p, *operands)``, and ``exact(p, *operands)`` for examples and heads with NaN or ∞.

    Args:
      p: the problem.
      fast: multiplies by zeros of its own if ``p.settings.partial``.
      exact: the same without them.
      operands: of both; those tested are (N, T, heads, D).
      tested: which operands are multiplied by such zeros, and the lengths past which they don't count.
      statistics: which results have the axes (N, heads, T).
    """
    results = fast(p, *operands)
    if not p.settings.partial:
        return results
    extras = dict(zip(p.settings.extras, operands[3:], strict=False))
    totals = [_total(p, operands[i], extras.get(lengths or "")) for i, lengths in tested]
    bad = ~jnp.isfinite(sum(totals[1:], totals[0]))
    leaves, structure = jax.tree.flatten(results)

    def repair(leaves: list[jax.Array]) -> list[jax.Array]:
        right = jax.tree.leaves(exact(p, *operands))
        return [
            jnp.where(_for_heads(bad, a, 1 if i in statistics else 2), new, a)
            for i, (a, new) in enumerate(zip(leaves, right, strict=True))
        ]

    def once(carry: tuple[jax.Array, list[jax.Array]]) -> tuple[jax.Array, list[jax.Array]]:
        wanted, leaves = carry
        return wanted & False, repair(leaves)

    # A loop of one round or none, since a branch that returns its operand would copy it.
    _, leaves = lax.while_loop(lambda carry: carry[0], once, (jnp.any(bad), leaves))
    return jax.tree.unflatten(structure, leaves)


def exactly(form: Callable[..., Results]) -> Callable[..., Results]:
    return partial(form, exact=True)


def _total(p: Problem, a: jax.Array, lengths: jax.Array | None) -> jax.Array:
    """The sum for each example and head of keys, (N, K)."""
    if lengths is not None:
        a = zeros_past(jnp.expand_dims(lengths, (1, 2, 3, 4)), jnp.expand_dims(jnp.moveaxis(a, 1, 2), 1))
        a = jnp.moveaxis(a[:, 0], 1, 2)
    sums = jnp.sum(a.astype(p.wide), axis=(1, 3))
    return jnp.sum(sums.reshape(sums.shape[0], p.kv_heads, sums.shape[1] // p.kv_heads), axis=2)


def _for_heads(bad: jax.Array, a: jax.Array, axis: int) -> jax.Array:
    """``bad``, (N, K), for each head of ``a``, to be broadcast to it."""
    each = a.shape[axis] // bad.shape[1]
    repeated = jnp.repeat(bad, each, axis=1)
    others = [n for n in range(a.ndim) if n not in (0, axis)]
    return jnp.expand_dims(repeated, others)
