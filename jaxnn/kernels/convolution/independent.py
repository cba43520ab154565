"""Guards forms that multiply by zeros of their own, so that NaN and ∞ reach only what depends on them.

A banded or blocked kernel multiplies values that have nothing to do with each other by zero, and 0 · NaN and
0 · ∞ are NaN. What isn't finite in the kernel itself stays in its place: the zeros are put around it, never
multiplied with it. So the data are tested, by their sum: it is not finite if one of them isn't. (It may also
overflow, which costs time and nothing else.) If the test fails, an exact form, which is slower but has no
such zeros, shows which values are not finite.
"""

from collections.abc import Callable

import jax
from jax import lax

from jaxnn.kernels.lowering.emission import once_if

Linear = Callable[[jax.Array], jax.Array]


def independent(fast: Linear, exact: Linear, data: jax.Array, *, bits: bool) -> jax.Array:
    """``fast(data)``, in which NaN and ∞ reach what depends on them and nothing else.

    Args:
      fast: a linear map that multiplies by zeros of its own.
      exact: the same map without them.
      data: what they are applied to.
      bits: whether all other values must stay the same to the bit. The slow way then computes ``fast`` again
        from data with zeros in place of NaN and ∞, which takes as long to compile. If False, the values that
        ``fast`` spoiled are taken from ``exact``.
    """

    def repair(result: jax.Array) -> jax.Array:
        right = exact(data)
        if bits:
            clean = lax.select(lax.is_finite(data), data, lax.full_like(data, 0))
            return lax.select(lax.is_finite(right), fast(clean), right)
        return lax.select(lax.is_finite(result), result, right)

    # The test doesn't wait for the result, and most data are large enough for XLA's library to sum them: what
    # is left of the test is then the same for all shapes, and compiled once.
    return _unless(_all_finite(data), repair, fast(data))


def repaired(result: jax.Array, exact: Callable[[], jax.Array]) -> jax.Array:
    """``result``, with values of ``exact()`` where it isn't finite."""

    def repair(result: jax.Array) -> jax.Array:
        return lax.select(lax.is_finite(result), result, exact())

    return _unless(_all_finite(result), repair, result)


def _unless(good: jax.Array, repair: Linear, result: jax.Array) -> jax.Array:
    return once_if(lax.bitwise_not(good), repair, result)


def _all_finite(data: jax.Array) -> jax.Array:
    return lax.is_finite(lax.reduce_sum(data, tuple(range(data.ndim))))
