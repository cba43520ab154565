"""Attention as it is written in papers: all scores at once. JAX can derive it any number of times."""

from collections.abc import Sequence

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
    seen,
    without_ends,
)
from jaxnn.kernels.lowering.varying import sharding_as


def forward(p: Problem, *operands: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The output (N, T, H, D), and the logarithm of each softmax's sum, (N, H, T): 0 if nothing is read."""
    given = without_ends(p, on_five_axes(p, operands))
    values, largest, total = weights(p, given)
    empty = total == 0
    total = jnp.where(empty, jnp.ones_like(total), total)
    y = jnp.einsum("nkrts,nkisd->nkrtd", values, given.v.astype(p.wide), precision=p.settings.precision)
    logarithms = jnp.where(empty, jnp.zeros_like(total), largest + jnp.log(total))
    return from_queries(y / total).astype(operands[0].dtype), from_statistics(logarithms)


def dropped(p: Problem, rate: float, key: jax.Array, *operands: jax.Array) -> jax.Array:
    """The output where each weight is 0 with probability ``rate``, and the others are larger for it."""
    given = without_ends(p, on_five_axes(p, operands))
    values, _, total = weights(p, given)
    like = sharding_as(values, values.shape)
    bits = jax.random.bits(key, values.shape, jnp.uint32, out_sharding=like)
    kept = bits >= np.uint32(round(rate * (1 << 32)))
    values = jnp.where(kept, values / (1 - rate), jnp.zeros_like(values))
    total = jnp.where(total == 0, jnp.ones_like(total), total)
    y = jnp.einsum("nkrts,nkisd->nkrtd", values, given.v.astype(p.wide), precision=p.settings.precision)
    return from_queries(y / total).astype(operands[0].dtype)


def weights(p: Problem, given: Operands) -> tuple[jax.Array, jax.Array, jax.Array]:
    """exp(score − largest score) for each query and key; the largest score and the sum for each query."""
    scores = jnp.einsum(
        "nkrtd,nkisd->nkrts",
        given.q.astype(p.wide) * p.settings.scale,
        given.k.astype(p.wide),
        precision=p.settings.precision,
    )
    if given.bias is not None:
        scores = scores + given.bias.astype(p.wide)
    rows, columns = (jnp.arange(size, dtype=jnp.int32) for size in (p.queries, p.keys))
    # Without −∞: that would be the step to blame under jax.debug_infs.
    lowest = np.finfo(p.wide).min
    read = seen(p.settings, given, rows, columns)
    here = scores if read is None else jnp.where(read, scores, lowest)
    largest = lax.stop_gradient(jnp.max(here, axis=-1, keepdims=True, initial=lowest))
    if read is None:
        values = jnp.exp(scores - largest)
    else:
        below = jnp.where(read, scores - largest, jnp.zeros_like(scores))
        values = jnp.where(read, jnp.exp(below), jnp.zeros_like(scores))
    return values, largest, jnp.sum(values, axis=-1, keepdims=True)


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
