"""Guards forms that multiply by zeros of their own, so that NaN and ∞ reach only what depends on them.

A banded or blocked kernel multiplies values that have nothing to do with each other by zero, and 0 · NaN and
0 · ∞ are NaN. Finite operands can't give these, so the operands are tested: by their sum, which is not finite
if one of them isn't. That reads the operands once. (The sum may also overflow, which costs time and nothing
else.) If the test fails, lax's own form, which is slower but has no such zeros, tells which values are not
finite.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

Bilinear = Callable[[jax.Array, jax.Array], jax.Array]


def independent(fast: Bilinear, exact: Bilinear, a: jax.Array, b: jax.Array, *, bits: bool) -> jax.Array:
    """``fast(a, b)``, in which NaN and ∞ reach what depends on them and nothing else.

    Args:
      fast: a bilinear map that multiplies by zeros of its own.
      exact: the same map without them.
      a: an operand.
      b: the other.
      bits: whether all other values must stay the same to the bit. The slow way then computes ``fast`` again
        from operands with zeros in place of NaN and ∞, which takes as long to compile. If False, the values
        that ``fast`` spoiled are taken from ``exact``.
    """

    def repair(result: jax.Array) -> jax.Array:
        right = exact(a, b)
        if bits:
            return jnp.where(jnp.isfinite(right), fast(_or_zero(a), _or_zero(b)), right)
        return jnp.where(jnp.isfinite(result), result, right)

    return _unless(_all_finite(a, b), repair, fast(a, b))


def repaired(result: jax.Array, exact: Callable[[], jax.Array]) -> jax.Array:
    """``result``, with values of ``exact()`` where it isn't finite; if it is smaller than the operands."""

    def repair(result: jax.Array) -> jax.Array:
        return jnp.where(jnp.isfinite(result), result, exact())

    return lax.cond(_all_finite(result), lambda result: result, repair, result)


def _unless(good: jax.Array, repair: Callable[[jax.Array], jax.Array], result: jax.Array) -> jax.Array:
    """``result`` if ``good``, otherwise ``repair(result)``.

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
