"""Convolution of a few examples at a time, so that intermediate results stay in the cache."""

from collections.abc import Callable

import jax
from jax import lax

from jaxnn.kernels.lowering.varying import varying_as

#: How many floats a chunk may write out: 7.6 MB, what stays in the cache of one core.
FLOATS = 1_900_000


def examples(batch: int, floats: int) -> int:
    """Examples per chunk if each writes out ``floats``: a divisor of ``batch``, 1 if that is empty."""
    return max((m for m in range(1, batch + 1) if batch % m == 0 and m * floats <= FLOATS), default=1)


def mapped(form: Callable[[jax.Array], jax.Array], x: jax.Array, floats: int) -> jax.Array:
    """``form(x)``, in chunks of examples that write out ``floats`` each."""
    few = examples(x.shape[0], floats)
    if few >= x.shape[0]:
        return form(x)
    chunks = lax.map(form, _chunked(x, few))
    return lax.reshape(chunks, (x.shape[0], *chunks.shape[2:]))


def summed(
    form: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array, y: jax.Array, floats: int
) -> jax.Array:
    """``form(x, y)``, which is a sum over the examples, in the same chunks."""
    few = examples(x.shape[0], floats)
    if few >= x.shape[0]:
        return form(x, y)
    chunks = _chunked(x, few), _chunked(y, few)
    kernel = jax.eval_shape(form, *(chunk[0] for chunk in chunks))
    zeros = varying_as(lax.full(kernel.shape, 0, kernel.dtype), chunks)
    return lax.scan(lambda total, chunk: (lax.add(total, form(*chunk)), None), zeros, chunks)[0]


def _chunked(x: jax.Array, few: int) -> jax.Array:
    return lax.reshape(x, (x.shape[0] // few, few, *x.shape[1:]))
