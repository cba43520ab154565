"""Attention in blocks of queries and keys, which never holds more scores than those of one block.

For a block of queries the blocks of keys are read one after the other, with a running maximum and sum: the
exact softmax in memory that is linear in the lengths. Derivatives compute the weights again from the scores
and the logarithms of their sums. Blocks of keys that no query of the block reads are skipped.

Each product reads its operands as they lie: XLA for CPUs has no fast product that contracts the rows of its
left operand. In the gradient queries and the cotangent are therefore transposed once, before all blocks, and
the gradients of keys and values are summed transposed.

Products of one block multiply the weights of keys that are not read, which are 0, by their values, and
0 · NaN is NaN; with ``exact`` such terms are left out one by one, which is slow.

Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018; Rabe and Staats, "Self-attention
does not need O(n²) memory", 2021; Dao et al., "FlashAttention", 2022.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.kernels.attention.lanes import in_lanes
from jaxnn.kernels.attention.problem import (
    Operands,
    Problem,
    from_keys,
    from_queries,
    from_statistics,
    keys,
    on_five_axes,
    queries,
    seen,
    statistics,
    without_ends,
    zeros_past,
)
from jaxnn.kernels.lowering.fusion import materialized
from jaxnn.kernels.lowering.varying import varying_as
from jaxnn.kernels.padding import padded

#: The most queries and keys of a block; the queries of all heads that share a head of keys count. Where a
#: query does not read all keys, blocks of keys are shorter, so that more of them are skipped. Measured on 2
#: AVX-512 cores, 8 heads of 64 features: blocks of 128 queries take 1.2 times as long for 1,024 queries and
#: 1.3 times for 4,096; blocks of 1,024 take 0.95 of the time and twice the memory.
QUERIES, KEYS, KEYS_IF_SKIPPED = 512, 1024, 512
#: The most of both where the place of a query bounds what it reads and no heads share keys. Smaller blocks
#: compute less that is not read, and several heads go at once. On the same cores, with JAX 0.12: causal, 384
#: to 4,096 steps, 0.74 to 1.03 of the time; a window of 256, 0.66; where four heads share keys up to 1.08.
#: With JAX 0.10 a causal pass takes 1.3 times as long.
IF_BOUNDED = 256 if jax.__version_info__ >= (0, 11) else 512


class Blocks(NamedTuple):
    """How queries and keys are cut: sizes and numbers of blocks. What pads the last block is not read."""

    rows: Any
    columns: Any
    row_blocks: int
    column_blocks: int


def cut(p: Problem) -> Blocks:
    """Blocks of nearly equal sizes; a symbolic length is one block."""

    def pieces(length: Any, most: int) -> tuple[Any, int]:
        if not isinstance(length, int):
            return length, 1
        count = max(1, -(-length // most))
        return -(-length // count), count

    s = p.settings
    bounded = s.left is not None or s.right is not None
    skips = bounded or "key_lengths" in s.extras
    most, most_keys = QUERIES, KEYS_IF_SKIPPED if skips else KEYS
    if bounded and p.heads == p.kv_heads:
        most = most_keys = IF_BOUNDED
    rows, row_blocks = pieces(p.queries, max(1, most * p.kv_heads // p.heads))
    columns, column_blocks = pieces(p.keys, most_keys)
    return Blocks(rows, columns, row_blocks, column_blocks)


def _held(p: Problem) -> Any:
    """The scores of one block and query head."""
    blocks = cut(p)
    return blocks.rows * blocks.columns


def forward(p: Problem, *operands: jax.Array, exact: bool = False) -> tuple[jax.Array, jax.Array]:
    """See ``plain.forward``."""

    def compute(p: Problem, *operands: jax.Array) -> tuple[jax.Array, ...]:
        y, logarithms = _forward(p, exact, _given(p, operands))
        return from_queries(y).astype(operands[0].dtype), from_statistics(logarithms)

    y, logarithms = in_lanes("forward", p, compute, operands, _held(p))
    return y, logarithms


def tangent(p: Problem, *operands: jax.Array, exact: bool = False) -> jax.Array:
    """See ``primitives.tangent``."""
    count = 3 + len(p.settings.extras)

    def compute(p: Problem, *operands: jax.Array) -> tuple[jax.Array, ...]:
        given = _given(p, operands[:count])
        y, logarithms, d_q, d_k, d_v, *d_bias = operands[count:]
        tangents = Operands(
            zeros_past(given.lengths, queries(p, d_q)),
            zeros_past(given.key_lengths, keys(d_k)),
            zeros_past(given.key_lengths, keys(d_v)),
            d_bias[0].reshape(given.bias.shape) if d_bias and given.bias is not None else None,
        )
        result = _tangent(p, exact, given, tangents, queries(p, y), statistics(p, logarithms))
        return (from_queries(result).astype(operands[0].dtype),)

    return in_lanes("tangent", p, compute, operands, _held(p))[0]


def gradient(p: Problem, *operands: jax.Array, exact: bool = False) -> tuple[jax.Array, ...]:
    """See ``primitives.gradient``."""
    count = 3 + len(p.settings.extras)

    def compute(p: Problem, *operands: jax.Array) -> tuple[jax.Array, ...]:
        given = _given(p, operands[:count])
        y, logarithms, cotangent = operands[count:]
        d_y = zeros_past(given.lengths, queries(p, cotangent))
        d_q, d_k, d_v = _gradient(p, exact, given, queries(p, y), statistics(p, logarithms), d_y)
        results = from_queries(d_q), from_keys(d_k), from_keys(d_v)
        return tuple(a.astype(own.dtype) for a, own in zip(results, operands[:3], strict=True))

    return in_lanes("gradient", p, compute, operands, _held(p))


def bias_gradient(p: Problem, *operands: jax.Array) -> jax.Array:
    """See ``primitives.bias_gradient``. It holds the gradient, in the shape of the bias, and one block."""
    count = 3 + len(p.settings.extras)
    bias = operands[3]

    def compute(p: Problem, *operands: jax.Array) -> tuple[jax.Array, ...]:
        given = _given(p, operands[:count])
        y, logarithms, cotangent = operands[count:]
        d_y = zeros_past(given.lengths, queries(p, cotangent))
        result = _bias_gradient(p, given, queries(p, y), statistics(p, logarithms), d_y)
        return (result.reshape(operands[3].shape),)

    return in_lanes("bias_gradient", p, compute, operands, _held(p), bias.shape)[0].astype(bias.dtype)


def _given(p: Problem, operands: Sequence[jax.Array]) -> Operands:
    given = without_ends(p, on_five_axes(p, operands))
    return given._replace(q=given.q.astype(p.wide), k=given.k.astype(p.wide), v=given.v.astype(p.wide))


def _forward(p: Problem, exact: bool, given: Operands) -> tuple[jax.Array, jax.Array]:
    walk = _Walk(p, given)

    def block(i: jax.Array) -> tuple[jax.Array, jax.Array]:
        q, whole = walk.rows(given.q, i) * p.settings.scale, walk.whole(i)

        def step(j: jax.Array, carry: Any) -> Any:
            largest, total, y = carry
            scores, read = walk.scores(q, i, j, whole)
            following = jnp.maximum(largest, jnp.max(scores, axis=-1, keepdims=True, initial=-jnp.inf))
            shift = jnp.where(following == -jnp.inf, jnp.zeros_like(following), following)
            weights, shrink = jnp.exp(scores - shift), jnp.exp(largest - shift)
            total = shrink * total + jnp.sum(weights, axis=-1, keepdims=True)
            y = shrink * y + _over_keys(p, weights, walk.columns(given.v, j), read, exact=exact)
            return following, total, y

        one = jnp.zeros_like(q[..., :1])
        largest, total, y = walk.over_keys(i, step, (one - jnp.inf, one, jnp.zeros_like(q)))
        empty = total == 0
        total = jnp.where(empty, jnp.ones_like(total), total)
        return y / total, jnp.where(empty, jnp.zeros_like(total), largest + jnp.log(total))

    return walk.over_queries(block)


def _tangent(
    p: Problem,
    exact: bool,
    given: Operands,
    tangents: Operands,
    y: jax.Array,
    logarithms: jax.Array,
) -> jax.Array:
    walk = _Walk(p, given)

    def block(i: jax.Array) -> jax.Array:
        q = walk.rows(given.q, i) * p.settings.scale
        d_q = walk.rows(tangents.q, i) * p.settings.scale
        logarithm = walk.rows(logarithms, i)

        def step(j: jax.Array, carry: Any) -> Any:
            d_total, d_y = carry
            scores, read = walk.scores(q, i, j)
            weights = jnp.exp(scores - logarithm)
            d_scores = _scores(p, d_q, walk.columns(given.k, j)) + _scores(p, q, walk.columns(tangents.k, j))
            if tangents.bias is not None:
                d_scores = d_scores + walk.block(tangents.bias, i, j)
            d_weights = _where(read, weights * d_scores)
            d_total = d_total + jnp.sum(d_weights, axis=-1, keepdims=True)
            d_y = d_y + _over_keys(p, d_weights, walk.columns(given.v, j), read, exact=exact)
            d_y = d_y + _over_keys(p, weights, walk.columns(tangents.v, j), read, exact=exact)
            return d_total, d_y

        start = jnp.zeros_like(q[..., :1]), jnp.zeros_like(q)
        d_total, d_y = walk.over_keys(i, step, varying_as(start, (given, tangents)))
        return d_y - d_total * walk.rows(y, i)

    result: jax.Array = walk.over_queries(block)
    return result


def _gradient(
    p: Problem, exact: bool, given: Operands, y: jax.Array, logarithms: jax.Array, d_y: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    walk = _Walk(p, given)
    all_q, all_d_y = _queries_across(given.q), _queries_across(d_y.astype(p.wide))

    def block(carry: Any, i: jax.Array) -> tuple[Any, jax.Array]:
        q, d_y_here = walk.rows(given.q, i) * p.settings.scale, walk.rows(d_y, i)
        q_across, d_y_across = walk.rows_across(all_q, i), walk.rows_across(all_d_y, i)
        logarithm = walk.rows(logarithms, i)
        common = _along_features(d_y_here, walk.rows(y, i))

        def step(j: jax.Array, carry: Any) -> Any:
            d_q, d_k, d_v = carry
            scores, read = walk.scores(q, i, j)
            weights = jnp.exp(scores - logarithm)
            d_scores = _where(read, weights * (_scores(p, d_y_here, walk.columns(given.v, j)) - common))
            d_q = d_q + _over_keys(p, d_scores, walk.columns(given.k, j), read, exact=exact)
            d_k = walk.added(d_k, _over_rows(p, q_across, d_scores, read, exact=exact), j)
            d_v = walk.added(d_v, _over_rows(p, d_y_across, weights, read, exact=exact), j)
            return d_q, d_k, d_v

        d_q, *carry = walk.over_keys(i, step, (jnp.zeros_like(q), *carry))
        return tuple(carry), d_q * p.settings.scale

    # Rows of a multiple of 4 kB would lie in the same sets of the cache, and be slow to transpose: 16 more.
    zeros = jnp.zeros((*given.k.shape[:3], p.features, walk.b.columns * walk.b.column_blocks + 16), p.wide)
    zeros = zeros + jnp.sum(jnp.zeros_like(given.k), (3, 4), keepdims=True)  # sharded and varying as the keys
    start = varying_as((zeros, zeros), (given, d_y))
    (d_k, d_v), d_q = lax.scan(block, start, jnp.arange(walk.b.row_blocks, dtype=jnp.int32))
    d_k, d_v = (jnp.swapaxes(a[..., : p.keys], 3, 4) for a in (d_k * p.settings.scale, d_v))
    return walk.joined(d_q), d_k, d_v


def _bias_gradient(
    p: Problem, given: Operands, y: jax.Array, logarithms: jax.Array, d_y: jax.Array
) -> jax.Array:
    walk = _Walk(p, given)
    assert given.bias is not None
    shape = given.bias.shape
    summed = tuple(axis for axis, size in enumerate(shape) if size == 1)

    def block(total: jax.Array, i: jax.Array) -> tuple[jax.Array, None]:
        q, d_y_here = walk.rows(given.q, i) * p.settings.scale, walk.rows(d_y, i)
        logarithm = walk.rows(logarithms, i)
        common = _along_features(d_y_here, walk.rows(y, i))

        def step(j: jax.Array, total: jax.Array) -> jax.Array:
            scores, read = walk.scores(q, i, j)
            d_weights = _scores(p, d_y_here, walk.columns(given.v, j)) - common
            d_scores = _where(read, jnp.exp(scores - logarithm) * d_weights)
            d_scores = jnp.sum(d_scores, axis=summed, keepdims=True)
            zero = jnp.zeros_like(i)
            places = zero, zero, zero, i * walk.b.rows, j * walk.b.columns
            start = [zero if axis in summed else place for axis, place in enumerate(places)]
            here = lax.dynamic_slice(total, start, d_scores.shape)
            return lax.dynamic_update_slice(total, here + d_scores, start)

        return walk.over_keys(i, step, total), None

    whole = walk.b.rows * walk.b.row_blocks, walk.b.columns * walk.b.column_blocks
    sizes = (*shape[:3], *(1 if size == 1 else own for size, own in zip(shape[3:], whole, strict=True)))
    zeros = varying_as(jnp.zeros_like(given.bias, p.wide, shape=sizes), (given, d_y))
    total, _ = lax.scan(block, zeros, jnp.arange(walk.b.row_blocks, dtype=jnp.int32))
    return total[..., : shape[3], : shape[4]]


class _Walk:
    """Moves over the blocks of one attention. Queries, keys and rows of statistics come out padded."""

    def __init__(self, p: Problem, given: Operands):
        self.p, self.given, self.b = p, given, cut(p)
        whole = self.b.row_blocks * self.b.rows, self.b.column_blocks * self.b.columns
        self.pads = tuple(
            0 if size == own else size - own for size, own in zip(whole, self._sizes(), strict=True)
        )

    def _sizes(self) -> tuple[Any, Any]:
        return self.p.queries, self.p.keys

    def rows(self, a: jax.Array, i: jax.Array) -> jax.Array:
        """Block i of the queries of ``a: (N, K, R, T, D)``."""
        return self._piece(a, i, 3, 0).astype(self.p.wide)

    def columns(self, a: jax.Array, j: jax.Array) -> jax.Array:
        """Block j of the keys of ``a: (N, K, 1, S, D)``."""
        return self._piece(a, j, 3, 1).astype(self.p.wide)

    def rows_across(self, a: jax.Array, i: jax.Array) -> jax.Array:
        """Block i of the queries of ``a: (N, K, D, R, T)``."""
        return self._piece(a, i, 4, 0)

    def block(self, a: jax.Array, i: jax.Array, j: jax.Array) -> jax.Array:
        """The block of a bias or a mask, (N, K, R, T, S), for these queries and keys."""
        a = a if a.shape[3] == 1 else self._piece(a, i, 3, 0)
        a = a if a.shape[4] == 1 else self._piece(a, j, 4, 1)
        return a if a.dtype == jnp.bool_ else a.astype(self.p.wide)

    def scores(
        self, q: jax.Array, i: jax.Array, j: jax.Array, whole: tuple[jax.Array, jax.Array] | None = None
    ) -> tuple[jax.Array, jax.Array | None]:
        """The scores of a block, −∞ where a key is not read, and where one is read (None: everywhere).

        ``whole``: bounds of the blocks that are read as a whole, whose scores need no second look.
        """
        read, scores = self.read(i, j), _scores(self.p, q, self.columns(self.given.k, j))
        if self.given.bias is not None:
            scores = scores + self.block(self.given.bias, i, j)
        if read is None or whole is None:
            return _masked(scores, read), read
        # A loop of one round or none, since a branch that returns its operand would copy it. What depends on
        # its counter, which starts at j, is not computed outside of it.
        partly = ((j < whole[0]) | (j >= whole[1])).astype(j.dtype)
        scores = varying_as(scores, self.given)
        return lax.fori_loop(j, j + partly, lambda j, a: _masked(a, self.read(i, j)), scores), read

    def read(self, i: jax.Array, j: jax.Array) -> jax.Array | None:
        """Where a key of a block is read; None: everywhere."""
        p, given = self.p, self.given
        rows, columns = (
            at * size + jnp.arange(size, dtype=jnp.int32)
            for at, size in ((i, self.b.rows), (j, self.b.columns))
        )
        here = given if given.mask is None else given._replace(mask=self.block(given.mask, i, j))
        read = seen(p.settings, here, rows, columns)
        for place, own, axes, pad in zip(
            (rows, columns), self._sizes(), ((0, 1, 2, 4), (0, 1, 2, 3)), self.pads, strict=True
        ):
            if pad:
                real = jnp.expand_dims(place, axes) < own
                read = real if read is None else read & real
        return read

    def whole(self, i: jax.Array) -> tuple[jax.Array, jax.Array] | None:
        """The first block of keys that all queries of block i read as a whole, and the one after the last;
        None if none is known to be.
        """
        s, given, b = self.p.settings, self.given, self.b
        if b.column_blocks == 1 or given.mask is not None:
            return None
        first, last = self._places(i)
        low = jnp.zeros((), jnp.int32)
        high = jnp.full((), self.p.keys, jnp.int32)
        if s.left is not None:
            low = -((s.left - last) // b.columns)
        if s.right is not None:
            high = jnp.minimum(high, first + s.right + 1)
        if given.key_lengths is not None:
            high = jnp.minimum(high, jnp.min(given.key_lengths))
        if given.lengths is not None:
            high = jnp.where((i + 1) * b.rows <= jnp.min(given.lengths), high, 0)
        return low, high // b.columns

    def over_keys(self, i: jax.Array, step: Callable[..., Any], carry: Any) -> Any:
        """``carry`` after the steps of all blocks of keys that a query of block i reads."""
        carry = varying_as(carry, self.given)
        if self.b.column_blocks == 1:
            return step(jnp.zeros((), jnp.int32), carry)
        return lax.fori_loop(*self._bounds(i), step, carry)

    def over_queries(self, block: Callable[[jax.Array], Any]) -> Any:
        """What ``block`` gives for each block of queries, joined."""
        return jax.tree.map(self.joined, lax.map(block, jnp.arange(self.b.row_blocks, dtype=jnp.int32)))

    def joined(self, a: jax.Array) -> jax.Array:
        """(blocks, N, K, R, rows, D) → (N, K, R, T, D)."""
        a = jnp.moveaxis(a, 0, 3)
        return a.reshape(*a.shape[:3], a.shape[3] * a.shape[4], a.shape[5])[..., : self.p.queries, :]

    def added(self, total: jax.Array, block: jax.Array, j: jax.Array) -> jax.Array:
        """``total: (N, K, 1, D, S)`` with ``block`` added to the keys of block j."""
        here = lax.dynamic_slice_in_dim(total, j * self.b.columns, self.b.columns, 4)
        return lax.dynamic_update_slice_in_dim(total, here + block, j * self.b.columns, 4)

    def _piece(self, a: jax.Array, at: jax.Array, axis: int, which: int) -> jax.Array:
        count = self.b.row_blocks if which == 0 else self.b.column_blocks
        if count == 1:
            return a
        a = padded(a, {axis: (0, self.pads[which])})
        size = self.b.rows if which == 0 else self.b.columns
        return lax.dynamic_slice_in_dim(a, at * size, size, axis)

    def _bounds(self, i: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The first block of keys that a query of block i reads, and the one after the last."""
        s, given, b = self.p.settings, self.given, self.b
        first, last = self._places(i)
        low = jnp.zeros((), jnp.int32)
        high = jnp.full((), b.column_blocks, jnp.int32)
        if s.left is not None:
            low = jnp.maximum(low, (first - s.left) // b.columns)
        if s.right is not None:
            high = jnp.minimum(high, (last + s.right) // b.columns + 1)
        if given.key_lengths is not None:
            high = jnp.minimum(high, -(-jnp.max(given.key_lengths) // b.columns))
        if given.lengths is not None:
            high = jnp.where(i * b.rows < jnp.max(given.lengths), high, low)
        return low, high

    def _places(self, i: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The places of the first and the last query of block i among the keys."""
        first, last = i * self.b.rows, (i + 1) * self.b.rows - 1
        if self.given.offset is not None:
            first, last = first + jnp.min(self.given.offset), last + jnp.max(self.given.offset)
        return first, last


def _queries_across(a: jax.Array) -> jax.Array:
    """(N, K, R, T, D) → (N, K, D, R, T), as an array of its own."""
    return materialized(jnp.moveaxis(a, 4, 2))


def _scores(p: Problem, q: jax.Array, k: jax.Array) -> jax.Array:
    """The products of queries, (N, K, R, T, D), and keys, (N, K, 1, S, D).

    On four axes: of five XLA transposes the keys first.
    """
    n, heads, r, t, d = q.shape
    rows = q.reshape(n, heads, r * t, d)
    scores = jnp.einsum("nktd,nksd->nkts", rows, k[:, :, 0], precision=p.settings.precision)
    return scores.reshape(n, heads, r, t, k.shape[3])


def _along_features(a: jax.Array, b: jax.Array) -> jax.Array:
    """Σ a[..., d] · b[..., d], the axis kept; as a sum of products it takes five times as long (JAX 0.10)."""
    return jnp.expand_dims(jnp.einsum("nkrtd,nkrtd->nkrt", a, b, precision=lax.Precision.HIGHEST), 4)


def _masked(scores: jax.Array, read: jax.Array | None) -> jax.Array:
    return scores if read is None else jnp.where(read, scores, -jnp.inf)


def _where(read: jax.Array | None, a: jax.Array) -> jax.Array:
    return a if read is None else jnp.where(read, a, jnp.zeros_like(a))


def _over_keys(
    p: Problem, weights: jax.Array, values: jax.Array, read: jax.Array | None, *, exact: bool
) -> jax.Array:
    """Σₛ weights[..., t, s] · values[..., s, d]."""
    if not exact or read is None or weights.shape[4] == 0:
        return jnp.einsum("nkrts,nkisd->nkrtd", weights, values, precision=p.settings.precision)

    def term(s: Any, total: jax.Array) -> jax.Array:
        weight, is_read = (lax.dynamic_slice_in_dim(a, s, 1, 4) for a in (weights, whole))
        return total + _where(is_read, weight * lax.dynamic_slice_in_dim(values, s, 1, 3))

    whole = jnp.broadcast_to(read, weights.shape)
    zeros = jnp.zeros_like(weights, shape=(*weights.shape[:-1], values.shape[-1]))
    return lax.fori_loop(0, weights.shape[-1], term, varying_as(zeros, (weights, values)))


def _over_rows(
    p: Problem, values: jax.Array, weights: jax.Array, read: jax.Array | None, *, exact: bool
) -> jax.Array:
    """Σ values[..., d, r, t] · weights[..., r, t, s] over queries and the query heads of a head of keys, as
    (N, K, 1, D, S).
    """
    if not exact or read is None or weights.shape[3] == 0:
        total = jnp.einsum("nkdrt,nkrts->nkds", values, weights, precision=p.settings.precision)
        return jnp.expand_dims(total, 2)

    def term(t: Any, total: jax.Array) -> jax.Array:
        weight, is_read = (
            jnp.expand_dims(lax.dynamic_slice_in_dim(a, t, 1, 3)[..., 0, :], 2) for a in (weights, whole)
        )
        value = jnp.expand_dims(lax.dynamic_slice_in_dim(values, t, 1, 4)[..., 0], 4)
        return total + jnp.sum(_where(is_read, weight * value), axis=3)

    whole = jnp.broadcast_to(read, weights.shape)
    n, k, _, t, s = weights.shape
    zeros = jnp.zeros_like(weights, shape=(n, k, values.shape[2], s))
    return jnp.expand_dims(lax.fori_loop(0, t, term, varying_as(zeros, (weights, values))), 2)
