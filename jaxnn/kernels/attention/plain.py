"""Attention as it is written in papers: all scores at once. JAX can derive it any number of times."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.kernels.attention.problem import (
    Operands,
    Problem,
    from_queries,
    from_statistics,
    on_five_axes,
    queries,
    seen,
    statistics,
    without_ends,
    zeros_past,
)
from jaxnn.kernels.bits import random_bits
from jaxnn.kernels.lowering.varying import sharding_as


def forward(p: Problem, *operands: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The output (N, T, H, D), and the logarithm of each softmax's sum, (N, H, T): 0 if nothing is read."""
    given = without_ends(p, on_five_axes(p, operands))
    values, largest, total, empty = weights(p, given)
    logarithms = jnp.where(empty, jnp.zeros_like(total), largest + jnp.log(total))
    return _output(p, given, values, total, empty).astype(operands[0].dtype), from_statistics(logarithms)


def dropped(p: Problem, rate: float, key: jax.Array, *operands: jax.Array) -> jax.Array:
    """The output where each weight is 0 with probability ``rate``, and the others are larger for it."""
    given = without_ends(p, on_five_axes(p, operands))
    values, _, total, empty = weights(p, given)
    bits = random_bits(key, values.shape, sharding_as(values, values.shape))
    kept = bits >= np.uint32(round(rate * (1 << 32)))
    values = jnp.where(kept, values / (1 - rate), jnp.zeros_like(values))
    return _output(p, given, values, total, empty).astype(operands[0].dtype)


def _output(p: Problem, given: Operands, values: jax.Array, total: jax.Array, empty: jax.Array) -> jax.Array:
    y = jnp.einsum("nkrts,nkisd->nkrtd", values, given.v.astype(p.wide), precision=p.settings.precision)
    return from_queries(jnp.where(empty, jnp.zeros_like(y), y / total))


def weights(p: Problem, given: Operands) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """exp(score − largest score) for each query and key; for each query the largest, the sum, and whether it
    reads nothing. If so its weights and its sum are meaningless, but the sum is not 0.
    """
    scores, _ = _scores(p, given)
    largest = lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True, initial=_lowest(p)))
    empty = largest == _lowest(p)
    values = jnp.exp(scores - largest)
    total = jnp.sum(values, axis=-1, keepdims=True)
    return values, largest, jnp.where(empty, jnp.ones_like(total), total), empty


def _scores(p: Problem, given: Operands) -> tuple[jax.Array, jax.Array | None]:
    """The scores, the lowest number where a key is not read, and where one is read (None: everywhere)."""
    scores = jnp.einsum(
        "nkrtd,nkisd->nkrts",
        given.q.astype(p.wide) * p.settings.scale,
        given.k.astype(p.wide),
        precision=p.settings.precision,
    )
    if given.bias is not None:
        scores = scores + given.bias.astype(p.wide)
    rows, columns = (jnp.arange(size, dtype=jnp.int32) for size in (p.queries, p.keys))
    read = seen(p.settings, given, rows, columns)
    return (scores if read is None else jnp.where(read, scores, _lowest(p))), read


def _lowest(p: Problem) -> Any:
    """Not −∞: that would be the step to blame under jax.debug_infs."""
    return np.finfo(p.wide).min


def tangent(p: Problem, *operands: jax.Array) -> jax.Array:
    """The tangent of the output; see ``primitives.tangent``."""
    given, linear = _parted(p, operands, 2)
    differentiable, output = output_of(p, given)
    result: jax.Array = jax.jvp(output, differentiable, _with_zeros(differentiable, linear))[1]
    return result


def gradient(p: Problem, *operands: jax.Array) -> tuple[jax.Array, ...]:
    """The gradients of q, k and v; see ``primitives.gradient``."""
    given, (cotangent,) = _parted(p, operands, 2)
    differentiable, output = output_of(p, given)
    gradients: tuple[jax.Array, ...] = jax.vjp(output, *differentiable)[1](cotangent)[:3]
    return gradients


def gradient_of_weights(p: Problem, *operands: jax.Array) -> tuple[jax.Array, ...]:
    """The same from the output and the logarithms: the weights are exp(score − logarithm) again."""
    count = 3 + len(p.settings.extras)
    given = without_ends(p, on_five_axes(p, operands[:count]))
    y, d_y = queries(p, operands[count]).astype(p.wide), operands[count + 2]
    d_y = zeros_past(given.lengths, queries(p, d_y)).astype(p.wide)
    product = partial(jnp.einsum, precision=p.settings.precision)
    q, k, v = (a.astype(p.wide) for a in given[:3])
    scores, read = _scores(p, given)
    weights = jnp.exp(scores - statistics(p, operands[count + 1]))
    common = jnp.sum(d_y * y, axis=-1, keepdims=True)
    d_scores = weights * (product("nkrtd,nkisd->nkrts", d_y, v) - common)
    if read is not None:
        d_scores = jnp.where(read, d_scores, jnp.zeros_like(d_scores))
    d_q = product("nkrts,nkisd->nkrtd", d_scores, k) * p.settings.scale
    d_k = product("nkrts,nkrtd->nksd", d_scores, q) * p.settings.scale
    d_v = product("nkrts,nkrtd->nksd", weights, d_y)
    results = from_queries(d_q), jnp.swapaxes(d_k, 1, 2), jnp.swapaxes(d_v, 1, 2)
    return tuple(a.astype(own.dtype) for a, own in zip(results, operands[:3], strict=True))


def bias_gradient(p: Problem, *operands: jax.Array) -> jax.Array:
    """The gradient of the bias; see ``primitives.bias_gradient``."""
    given, (cotangent,) = _parted(p, operands, 0)
    differentiable, output = output_of(p, given)
    result: jax.Array = jax.vjp(output, *differentiable)[1](cotangent)[3]
    return result


def output_of(p: Problem, given: Sequence[jax.Array]):  # type: ignore[no-untyped-def]
    """The operands that have derivatives (q, k, v and the bias), and the output as a function of them."""
    count = 3 + ("bias" in p.settings.extras)

    def output(*differentiable: jax.Array) -> jax.Array:
        return forward(p, *differentiable, *given[count:])[0]

    return tuple(given[:count]), output


def _parted(
    p: Problem, operands: Sequence[jax.Array], left_out: int
) -> tuple[Sequence[jax.Array], Sequence[jax.Array]]:
    """The operands of the attention, and those that follow the next ``left_out`` ones."""
    count = 3 + len(p.settings.extras)
    return operands[:count], operands[count + left_out :]


def _with_zeros(differentiable: Sequence[jax.Array], tangents: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
    """The tangents, with zeros for those at the end that are missing."""
    return (*tangents, *map(jnp.zeros_like, differentiable[len(tangents) :]))
