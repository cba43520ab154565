"""Forms that multiply by zeros of their own, kept from mixing what is independent.

A kernel of bands or blocks lays zeros between values that have nothing to do with each other, and 0 · NaN and
0 · ∞ are NaN. Where all operands are finite that can't happen, so they are tested: by their sum, which is not
finite if one of them isn't. That costs one reading of them. (It may also overflow; then time is lost, and
nothing else.) Otherwise lax's own form, which is slower but has no such zeros, tells which values are not
finite.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

Bilinear = Callable[[jax.Array, jax.Array], jax.Array]


def independent(fast: Bilinear, exact: Bilinear, a: jax.Array, b: jax.Array, *, bits: bool) -> jax.Array:
    """``fast(a, b)``, in which what isn't finite reaches what depends on it and nothing else.

    Args:
      fast: a bilinear map that multiplies by zeros of its own.
      exact: the same map without them.
      a: an operand.
      b: the other.
      bits: whether all other values must be, to the bit, what they would have been. The second way then
        computes ``fast`` again, of operands with zeros for what isn't finite, which takes as long to compile.
        Without it the values that ``fast`` spoiled are those of ``exact``.
    """

    def repair(result: jax.Array) -> jax.Array:
        right = exact(a, b)
        if bits:
            return jnp.where(jnp.isfinite(right), fast(_or_zero(a), _or_zero(b)), right)
        return jnp.where(jnp.isfinite(result), result, right)

    return _unless(_all_finite(a, b), repair, fast(a, b))


def repaired(result: jax.Array, exact: Callable[[], jax.Array]) -> jax.Array:
    """``result`` with the values of ``exact()`` where it isn't finite; for one smaller than its operands."""

    def repair(result: jax.Array) -> jax.Array:
        return jnp.where(jnp.isfinite(result), result, exact())

    return lax.cond(_all_finite(result), lambda result: result, repair, result)


def _unless(good: jax.Array, repair: Callable[[jax.Array], jax.Array], result: jax.Array) -> jax.Array:
    """``result`` if it is good, and else ``repair(result)``.

    A loop of one round or none, since a branch that returns its operand would copy it.
    """

    def once(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        bad, result = carry
        return bad & False, repair(result)

    return lax.while_loop(lambda carry: carry[0], once, (~good, result))[1]


def _all_finite(*arrays: jax.Array) -> jax.Array:
    return jnp.isfinite(sum(map(jnp.sum, arrays[1:]), jnp.sum(arrays[0])))


def _or_zero(a: jax.Array) -> jax.Array:
    return jnp.where(jnp.isfinite(a), a, jnp.zeros_like(a))
