"""A convolution of a few examples at a time, so that what it writes out in between stays in the cache."""

from collections.abc import Callable
from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.ops.conv_settings import Settings
from jaxnn.ops.varying import varying_as

#: How many floats may be written out at a time, and the multiplications from which on a loop is worth it: of
#: the whole batch, and of each part.
_FLOATS, _WORK, _PART = 1_900_000, 150_000_000, 30_000_000


def pays(s: Settings, batch: int, c_in: int, c_out: int, floats: int) -> bool:
    """Whether a batch is work enough to be parted, and so is each part that fits into the cache.

    ``c_in`` and ``c_out`` are the channels of a kernel ``(*window, c_in, c_out)``. The batches of a prime
    number of small images have no good parts.
    """
    work = prod(s.out) * prod(s.window) * c_in * c_out
    # A batch without a size yet has no parts, and a single example none either.
    if not isinstance(batch, int) or batch < 2 or floats > _FLOATS or batch * work < _WORK:
        return False
    few = _few(batch, floats)
    return few == batch or few * work >= _PART


def mapped(form: Callable[[jax.Array], jax.Array], x: jax.Array, floats: int) -> jax.Array:
    """``form(x)``, for as many examples at a time as may write out ``floats`` each; for all if that is 0."""
    few = _few(x.shape[0], floats)
    if few == x.shape[0]:
        return form(x)
    parts = lax.map(form, _parted(x, few))
    return parts.reshape(x.shape[0], *parts.shape[2:])


def summed(
    form: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array, y: jax.Array, floats: int
) -> jax.Array:
    """``form(x, y)``, which is a sum over the examples, in the same parts."""
    few = _few(x.shape[0], floats)
    if few == x.shape[0]:
        return form(x, y)
    parts = _parted(x, few), _parted(y, few)
    kernel = jax.eval_shape(form, *(part[0] for part in parts))
    zeros = varying_as(jnp.zeros(kernel.shape, kernel.dtype), parts)
    return lax.scan(lambda total, part: (total + form(*part), None), zeros, parts)[0]


def _few(batch: int, floats: int) -> int:
    """How many examples a part has, a divisor of their number."""
    if not floats:
        return batch
    return max(m for m in range(1, batch + 1) if batch % m == 0 and m * floats <= _FLOATS)


def _parted(x: jax.Array, few: int) -> jax.Array:
    return x.reshape(x.shape[0] // few, few, *x.shape[1:])
