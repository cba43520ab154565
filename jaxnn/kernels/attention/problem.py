"""What is computed: settings, operands and sizes of an attention, and which keys a query reads.

Forms in blocks work on five axes, (N, K, R, T, D): K heads of keys and values, for each of which R query
heads stand. The plain ones work on four, (N, K, R·T, D): only of four axes XLA fuses a product with the
exponentials that follow it, on CPUs.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

#: The operands after q, k and v, in this order; each may be left out.
EXTRAS = ("bias", "mask", "lengths", "key_lengths", "offset")
#: What follows the operands of the attention in those of its tangent and of its gradient; ``d_bias`` may be
#: left out.
TANGENT_OPERANDS = ("y", "logarithms", "d_q", "d_k", "d_v", "d_bias")
GRADIENT_OPERANDS = ("y", "logarithms", "d_y")


class Settings(NamedTuple):
    """What is known when a program is traced.

    Attributes:
      scale: the factor of the scores.
      left: how many keys before its own position a query reads; None for all.
      right: how many keys after its own position a query reads; None for all.
      extras: which of ``EXTRAS`` follow q, k and v.
      implementation: the name of a form; None chooses.
      precision: of the products.
      finite: whether what stands past the ends of the sequences is known to be finite.
    """

    scale: float
    left: int | None = None
    right: int | None = None
    extras: tuple[str, ...] = ()
    implementation: str | None = None
    precision: Any = None
    finite: bool = False

    def names(self, *others: str) -> tuple[str, ...]:
        """The names of the operands of a pass: those of the attention, and ``others`` after them."""
        return ("q", "k", "v", *self.extras, *others)

    @property
    def partial(self) -> bool:
        """Whether one query may read a key that another query of its example and head does not."""
        return self.left is not None or self.right is not None or "mask" in self.extras


class Problem(NamedTuple):
    """What the choice of a form may depend on."""

    settings: Settings
    batch: Any
    queries: Any
    keys: Any
    heads: int
    kv_heads: int
    features: int
    wide: jnp.dtype
    devices: int

    @property
    def scores(self) -> Any:
        """The number of scores of one example and head; they may be symbolic."""
        return self.queries * self.keys


class Operands(NamedTuple):
    """All operands, on equally many axes; sizes of 1 stand for all. None: not given."""

    q: jax.Array
    k: jax.Array
    v: jax.Array
    bias: jax.Array | None = None
    mask: jax.Array | None = None
    lengths: jax.Array | None = None
    key_lengths: jax.Array | None = None
    offset: jax.Array | None = None


def on_five_axes(p: Problem, operands: Sequence[jax.Array]) -> Operands:
    """The operands of the primitive as ``Operands``."""
    q, k, v, *rest = operands
    extras = dict(zip(p.settings.extras, rest, strict=True))
    for name, extra in extras.items():
        if name in ("bias", "mask"):
            n, heads, t, s = extra.shape
            split = (1, 1) if heads == 1 else (p.kv_heads, p.heads // p.kv_heads)
            extras[name] = extra.reshape(n, *split, t, s)
        else:
            extras[name] = jnp.expand_dims(extra, (1, 2, 3, 4))
    return Operands(queries(p, q), keys(k), keys(v), **extras)


def on_four_axes(p: Problem, given: Operands) -> Operands:
    """Operands on five axes with the query heads of a head of keys one below the other: (N, K, R·T, D)."""

    def rows(a: jax.Array) -> jax.Array:
        n, k, r, t, s = a.shape
        if p.heads == p.kv_heads or r == t == 1:
            return a[:, :, 0]
        whole = n, k, p.heads // p.kv_heads, p.queries, s
        return jnp.broadcast_to(a, whole).reshape(n, k, whole[2] * whole[3], s)

    k, v, extras = given.k[:, :, 0], given.v[:, :, 0], given[3:]
    return Operands(rows(given.q), k, v, *(None if a is None else rows(a) for a in extras))


def queries(p: Problem, q: jax.Array) -> jax.Array:
    """(N, T, H, ...) → (N, K, R, T, ...): each head of keys serves R neighbouring query heads."""
    split = q.reshape(*q.shape[:2], p.kv_heads, p.heads // p.kv_heads, *q.shape[3:])
    return jnp.moveaxis(split, 1, 3)


def from_queries(q: jax.Array) -> jax.Array:
    """(N, K, R, T, D) → (N, T, H, D)."""
    n, k, r, t, d = q.shape
    return jnp.moveaxis(q, 3, 1).reshape(n, t, k * r, d)


def keys(k: jax.Array) -> jax.Array:
    """(N, S, K, D) → (N, K, 1, S, D)."""
    return jnp.expand_dims(jnp.swapaxes(k, 1, 2), 2)


def from_keys(k: jax.Array) -> jax.Array:
    """(N, K, 1, S, D) → (N, S, K, D)."""
    return jnp.swapaxes(k[:, :, 0], 1, 2)


def statistics(p: Problem, a: jax.Array) -> jax.Array:
    """One value per query, (N, H, T) → (N, K, R, T, 1)."""
    return a.reshape(a.shape[0], p.kv_heads, p.heads // p.kv_heads, a.shape[2], 1)


def from_statistics(a: jax.Array) -> jax.Array:
    """(N, K, R, T, 1) → (N, H, T)."""
    n, k, r, t, _ = a.shape
    return a.reshape(n, k * r, t)


def seen(s: Settings, given: Operands, rows: jax.Array, columns: jax.Array) -> jax.Array | None:
    """Where a query may read a key, to be broadcast to the axes of the scores; None where it always may.

    Args:
      s: the settings.
      given: the mask, lengths and offset; a mask has these rows and columns.
      rows: the places of the queries, (T,) or (R·T,).
      columns: the places of the keys, (S,).
    """
    others = tuple(range(given.q.ndim - 2))
    row, column = jnp.expand_dims(rows, (*others, -1)), jnp.expand_dims(columns, (*others, -2))
    conditions = [] if given.mask is None else [given.mask]
    if given.lengths is not None:
        conditions.append(row < given.lengths)
    if given.key_lengths is not None:
        conditions.append(column < given.key_lengths)
    position = row if given.offset is None else row + given.offset
    if s.left is not None:
        conditions.append(column >= position - s.left)
    if s.right is not None:
        conditions.append(column <= position + s.right)
    if not conditions:
        return None
    result = conditions[0]
    for condition in conditions[1:]:
        result = result & condition
    return result


def without_ends(p: Problem, given: Operands) -> Operands:
    """The operands, with zeros past the ends of the sequences: what stands there, even NaN, is not read."""
    if p.settings.finite:
        return given
    return given._replace(
        q=zeros_past(given.lengths, given.q),
        k=zeros_past(given.key_lengths, given.k),
        v=zeros_past(given.key_lengths, given.v),
    )


def zeros_past(lengths: jax.Array | None, a: jax.Array) -> jax.Array:
    """``a: (N, K, R, T, D)``, with zeros from ``lengths`` on."""
    if lengths is None:
        return a
    place = jnp.expand_dims(jnp.arange(a.shape[3], dtype=jnp.int32), (0, 1, 2, 4))
    return jnp.where(place < lengths, a, jnp.zeros_like(a))
