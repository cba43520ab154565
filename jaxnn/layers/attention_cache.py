"""The carries of attention layers: the keys and values of all steps so far, or those of a memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.kernels.lowering.fusion import materialized
from jaxnn.ops import checks
from jaxnn.ops.sequences import largest_known, places


class Cache(NamedTuple):
    """The carry of an attention layer: the keys and values of all steps so far.

    Attributes:
      keys: (N, K, room, D), zeros where no step has been; head by head, as one query reads them.
      values: the same.
      steps: how many steps have been, () or, where sequences have lengths, (N,).
    """

    keys: jax.Array
    values: jax.Array
    steps: jax.Array

    @property
    def room(self) -> int:
        """For how many steps it was made."""
        return self.keys.shape[2]


class MemoryCache(NamedTuple):
    """What an attention layer to a memory carries: the memory's keys and values, which are computed once.

    Attributes:
      keys: (N, K, S, D).
      values: the same.
      lengths: (N,), how many of them are real; None for all.
      steps: how many steps have read them, ().
    """

    keys: jax.Array
    values: jax.Array
    lengths: jax.Array | None
    steps: jax.Array


def empty_cache(k: jax.Array, room: int) -> Cache:
    """A carry without steps for keys ``k: (N, T, K, D)``, sharded and varying as they do."""
    one = jnp.swapaxes(jnp.zeros_like(k[:, :1]), 1, 2)
    zeros = jnp.broadcast_to(one, (*one.shape[:2], room, one.shape[3]))
    return Cache(zeros, zeros, jnp.zeros((), jnp.int32))


def extended(name: str, cache: Cache, k: jax.Array, v: jax.Array, lengths: jax.Array | None) -> Cache:
    """The carry with the next steps in it, ``k`` and ``v``: (N, T, K, D), of which ``lengths`` are real."""
    count = k.shape[1]
    k, v = jnp.swapaxes(k, 1, 2), jnp.swapaxes(v, 1, 2)
    if cache.keys.shape != (*k.shape[:2], cache.room, k.shape[3]) or cache.keys.dtype != k.dtype:
        raise ValueError(
            f"{name}: carry must have the batch, heads and dtype of the keys, {checks.described(k)}, got "
            f"{checks.described(cache.keys)}"
        )
    _check_room(name, cache, count, lengths)
    if lengths is None and cache.steps.ndim == 0:
        # Fused with the product that reads it, an update would be made twice, and one of them in a copy.
        keys, values = (
            materialized(jax.lax.dynamic_update_slice_in_dim(whole, new, cache.steps, 2))
            for whole, new in ((cache.keys, k), (cache.values, v))
        )
    else:
        place = jnp.broadcast_to(places(cache.steps, count), (k.shape[0], count))
        row = jnp.broadcast_to(jnp.expand_dims(jnp.arange(k.shape[0], dtype=jnp.int32), 1), place.shape)
        keys, values = (
            whole.at[row, :, place].set(jnp.swapaxes(new, 1, 2), mode="drop")
            for whole, new in ((cache.keys, k), (cache.values, v))
        )
    return Cache(keys, values, cache.steps + (count if lengths is None else jnp.clip(lengths, 0, count)))


def nan_beyond(cache: Cache, y: jax.Array) -> jax.Array:
    """``y: (N, T, H, D)`` of the steps after those of ``cache``, NaN for steps that it has no room for."""
    place = places(cache.steps, y.shape[1])
    beyond = jnp.expand_dims(place >= cache.room, (2, 3) if cache.steps.ndim else (0, 2, 3))
    return jnp.where(beyond, jnp.nan, y)


def _check_room(name: str, cache: Cache, count: int, lengths: Any) -> None:
    """Raises where it is known that the carry is full."""
    room = cache.room
    so_far, new = largest_known(cache.steps), count if lengths is None else largest_known(lengths)
    if so_far is not None and new is not None:
        if so_far + min(new, count) > room:
            raise ValueError(
                f"{name}: the carry is full: it was made for {room} steps, got {new} more after {so_far}"
            )
    elif lengths is None and count > room:
        raise ValueError(f"{name}: the carry is full: it was made for {room} steps, got {count} more")
