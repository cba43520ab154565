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
    on_four_axes,
    queries,
    seen,
    statistics,
    without_ends,
    zeros_past,
)
from jaxnn.kernels.bits import random_bits
from jaxnn.kernels.lowering.fusion import materialized
from jaxnn.kernels.lowering.varying import sharding_as


def forward(p: Problem, *operands: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The output (N, T, H, D), and the logarithm of each softmax's sum, (N, H, T): 0 if nothing is read."""
    given = _given(p, operands)
    values, largest, total, empty = weights(p, given)
    logarithms = jnp.where(empty, jnp.zeros_like(total), largest + jnp.log(total))
    y = _output(p, given, values, total, empty)
    return y.astype(operands[0].dtype), from_statistics(_split(p, logarithms))


def dropped(p: Problem, rate: float, key: jax.Array, *operands: jax.Array) -> jax.Array:
    """The output where each weight is 0 with probability ``rate``, and the others are larger for it."""
    given = _given(p, operands)
    values, _, total, empty = weights(p, given)
    bits = random_bits(key, values.shape, sharding_as(values, values.shape))
    kept = bits >= np.uint32(round(rate * (1 << 32)))
    values = jnp.where(kept, values / (1 - rate), jnp.zeros_like(values))
    return _output(p, given, values, total, empty).astype(operands[0].dtype)


def _given(p: Problem, operands: Sequence[jax.Array]) -> Operands:
    return on_four_axes(p, without_ends(p, on_five_axes(p, operands)))


def _merged(p: Problem, a: jax.Array) -> jax.Array:
    """(N, K, R, T, D) → (N, K, R·T, D)."""
    return a[:, :, 0] if a.shape[2] == 1 else a.reshape(*a.shape[:2], a.shape[2] * a.shape[3], a.shape[4])


def _output(p: Problem, given: Operands, values: jax.Array, total: jax.Array, empty: jax.Array) -> jax.Array:
    y = jnp.einsum("nkts,nksd->nktd", values, given.v.astype(p.wide), precision=p.settings.precision)
    return from_queries(_split(p, jnp.where(empty, jnp.zeros_like(y), y / total)))


def _split(p: Problem, a: jax.Array) -> jax.Array:
    """(N, K, R·T, D) → (N, K, R, T, D)."""
    return a.reshape(*a.shape[:2], p.heads // p.kv_heads, p.queries, a.shape[3])


def weights(p: Problem, given: Operands) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """exp(score − largest score) for each query and key; for each query the largest, the sum, and whether it
    reads nothing. If so its weights are 0, and its sum is given as 1.
    """
    scores, _ = _scores(p, given)
    # The sum tells whether a query reads nothing, not the largest score, and the maximum's start is part of
    # its reduction: so XLA fuses product, maximum and exponential on CPUs.
    start = jnp.asarray(_lowest(p) / 2, p.wide)
    largest = jnp.expand_dims(lax.reduce(lax.stop_gradient(scores), start, lax.max, (3,)), 3)
    if not isinstance(p.keys, int) or p.keys == 1:
        largest = jnp.maximum(largest, start)  # of one value XLA makes that value, without the start
    values = jnp.exp(scores - largest)
    total = jnp.sum(values, axis=-1, keepdims=True)
    empty = total == 0
    return values, largest, jnp.where(empty, jnp.ones_like(total), total), empty


def _scores(p: Problem, given: Operands) -> tuple[jax.Array, jax.Array | None]:
    """The scores, the lowest number where a key is not read, and where one is read (None: everywhere)."""
    scores = jnp.einsum(
        "nktd,nksd->nkts",
        given.q.astype(p.wide) * p.settings.scale,
        given.k.astype(p.wide),
        precision=p.settings.precision,
    )
    if given.bias is not None:
        scores = scores + given.bias.astype(p.wide)
    rows, columns = (jnp.arange(size, dtype=jnp.int32) for size in (p.queries, p.keys))
    if p.heads > p.kv_heads:
        rows = jnp.tile(rows, p.heads // p.kv_heads)
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
    given = _given(p, operands[:count])
    y, logarithms, d_y = operands[count:]
    lengths = None if given.lengths is None else jnp.expand_dims(given.lengths, 2)
    # The sum over features is taken where they lie: the output needs no other layout.
    common = jnp.einsum(
        "nthd,nthd->nth", d_y.astype(p.wide), y.astype(p.wide), precision=lax.Precision.HIGHEST
    )
    common, logarithms = (_merged(p, statistics(p, a)) for a in (jnp.swapaxes(common, 1, 2), logarithms))
    d_y = _merged(p, zeros_past(lengths, queries(p, d_y))).astype(p.wide)
    product = partial(jnp.einsum, precision=p.settings.precision)
    q, k, v = given.q.astype(p.wide) * p.settings.scale, given.k.astype(p.wide), given.v.astype(p.wide)
    scores, read = _scores(p, given)
    weights = jnp.exp(scores - logarithms)
    d_scores = weights * (product("nktd,nksd->nkts", d_y, v) - common)
    if read is not None:
        d_scores = jnp.where(read, d_scores, jnp.zeros_like(d_scores))
    d_q = from_queries(_split(p, product("nkts,nksd->nktd", d_scores, k) * p.settings.scale))
    # Transposed, since XLA for CPUs has no fast product that contracts the rows of its left operand.
    q, d_y = (materialized(jnp.swapaxes(a, 2, 3)) for a in (q, d_y))
    d_k = product("nkdt,nkts->nkds", q, d_scores)
    d_v = product("nkdt,nkts->nkds", d_y, weights)
    results = d_q, jnp.transpose(d_k, (0, 3, 1, 2)), jnp.transpose(d_v, (0, 3, 1, 2))
    return tuple(a.astype(own.dtype) for a, own in zip(results, operands[:3], strict=True))


def bias_gradient(p: Problem, *operands: jax.Array) -> jax.Array:
    """The gradient of the bias; see ``primitives.bias_gradient``."""
    given, (cotangent,) = _parted(p, operands, 2)
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
