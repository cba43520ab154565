"""Guards forms that multiply by zeros of their own, so that NaN and ∞ reach only what depends on them.

A banded or blocked kernel multiplies values that have nothing to do with each other by zero, and 0 · NaN and
0 · ∞ are NaN. Finite operands can't give these, and what isn't finite in an operand always shows in the
result. So one of the two is tested, by its sum: it is not finite if one of the values isn't. (It may also
overflow, which costs time and nothing else.) If the test fails, lax's own form, which is slower but has no
such zeros, tells which values are not finite.
"""

from collections.abc import Callable

import jax
import numpy as np
from jax import lax

Bilinear = Callable[[jax.Array, jax.Array], jax.Array]

#: The result is tested unless it has this many times the values of the operands: its sum is one call of XLA's
#: library, and a test of the kernel, which is too small for the library, is one more loop to compile.
RESULT_LARGER = 4


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
    result = fast(a, b)
    # A batch of symbolic size can't be compared.
    small = isinstance(result.size, int) and result.size <= RESULT_LARGER * (a.size + b.size)
    good = _all_finite(result) if small else _all_finite(a, b)

    def repair(result: jax.Array) -> jax.Array:
        right = exact(a, b)
        if bits:
            return lax.select(lax.is_finite(right), fast(_or_zero(a), _or_zero(b)), right)
        return lax.select(lax.is_finite(result), result, right)

    return _unless(good, repair, result)


def repaired(result: jax.Array, exact: Callable[[], jax.Array]) -> jax.Array:
    """``result``, with values of ``exact()`` where it isn't finite; small, since a branch copies it."""

    def repair(result: jax.Array) -> jax.Array:
        return lax.select(lax.is_finite(result), result, exact())

    return lax.cond(_all_finite(result), lambda result: result, repair, result)


def _unless(good: jax.Array, repair: Callable[[jax.Array], jax.Array], result: jax.Array) -> jax.Array:
    """``result`` if ``good``, otherwise ``repair(result)``.

    A loop of one round or none, since a branch that returns its operand would copy it.
    """

    def once(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        good, result = carry
        return lax.bitwise_or(good, np.True_), repair(result)

    return lax.while_loop(lambda carry: lax.bitwise_not(carry[0]), once, (good, result))[1]


def _all_finite(*arrays: jax.Array) -> jax.Array:
    first, *others = (lax.reduce_sum(a, tuple(range(a.ndim))) for a in arrays)
    for other in others:
        first = lax.add(first, other)
    return lax.is_finite(first)


def _or_zero(a: jax.Array) -> jax.Array:
    return lax.select(lax.is_finite(a), a, lax.full_like(a, 0))
