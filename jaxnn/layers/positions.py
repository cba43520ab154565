"""Positions added to a sequence: fixed waves, or a learnt row per place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer, normal

from jaxnn.entries import Entries
from jaxnn.layer import Layer, constructor, stateless
from jaxnn.layers.weights import drawn
from jaxnn.ops import checks, positions
from jaxnn.ops.sequences import checked_lengths, largest_known, places, real_steps
from jaxnn.params import Key, Params, Weights, fold_name
from jaxnn.sequences import as_sequences

#: ``rows(weights, places, x)``: what is added at these places, (T, F) or (N, T, F).
Rows = Callable[[Weights, jax.Array, jax.Array], jax.Array]

#: As in GPT-2 and ViT: small beside what it is added to.
SMALL_NORMAL: Initializer = normal(0.02)


@constructor
def sinusoidal_positions(*, base: float = 10_000.0, return_carry: bool = False) -> Layer:
    """Adds sines and cosines of the position: ``(N, T, F) → (N, T, F)``, F even.

    y[t, 2i] = x[t, 2i] + sin(t · base^(−2i/F)), and the cosine of the same for 2i + 1; see
    ``nn.ops.sinusoidal_positions``. No weights. The input is ``x``, ``(x, lengths)`` or ``nn.Sequences(x,
    lengths, carry)``, as of a recurrent layer; the carry is the number of steps so far.

    Args:
      base: the longest wave is 2π · base long.
      return_carry: return ``(the result without it, carry)``: in the next piece of the sequence the positions
        go on.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.sinusoidal_positions(), (1, 20, 8))
    (1, 20, 8)

    Vaswani et al., "Attention is all you need", 2017.
    """
    name = "sinusoidal_positions"
    base = checks.number(name, "base", base, above=0)

    def init(key: Key, x: Any) -> Weights:
        return {}

    def rows(weights: Weights, place: jax.Array, x: jax.Array) -> jax.Array:
        return positions.sinusoidal_positions(place, x.shape[-1], base=base, dtype=x.dtype)

    return _layer(name, init, rows, {}, lambda weights: None, return_carry)


@constructor
def position_embedding(
    room: int | None = None, *, return_carry: bool = False, embedding_init: Initializer = SMALL_NORMAL
) -> Layer:
    """Adds a learnt row for each place: ``(N, T, F) → (N, T, F)``, y[t] = x[t] + embedding[t].

    Weights: ``embedding (room, F)``. The input is ``x``, ``(x, lengths)`` or ``nn.Sequences(x, lengths,
    carry)``, as of a recurrent layer; the carry is the number of steps so far.

    Args:
      room: how many places there are; None for as many as the input of ``init`` has. A step beyond raises
        where the number of steps is known, and gives NaN where it is traced.
      return_carry: return ``(the result without it, carry)``: in the next piece of the sequence the places go
        on.
      embedding_init: any function of (key, shape, dtype).

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.position_embedding(100), (1, 20, 8))
    (1, 20, 8)
    """
    name = "position_embedding"
    room = None if room is None else checks.integer(name, "room", room, least=1)
    checks.initialisers(name, embedding_init=embedding_init)

    def init(key: Key, x: Any) -> Weights:
        shape, own_key = (x.shape[1] if room is None else room, x.shape[-1]), fold_name(key, "embedding")
        return {"embedding": drawn(name, "embedding_init", embedding_init, own_key, shape, x.dtype)}

    def rows(weights: Weights, place: jax.Array, x: jax.Array) -> jax.Array:
        table = jnp.asarray(weights["embedding"])
        if table.dtype != x.dtype or table.shape[1] != x.shape[2]:
            raise ValueError(
                f"{name}: x must have the features and the dtype of the embedding, "
                f"{checks.described(table)}, got {checks.described(x)}"
            )
        return table.at[place].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)

    entries = {"embedding": ("T" if room is None else room, "F")}
    return _layer(name, init, rows, entries, lambda weights: weights["embedding"].shape[0], return_carry)


def _layer(
    name: str,
    init: Callable[[Key, Any], Weights],
    rows: Rows,
    entries: Entries,
    room: Callable[[Weights], int | None],
    return_carry: bool,
) -> Layer:
    """A layer that adds rows, for at most ``room(weights)`` places: inputs, lengths and the carry."""
    checks.flags(name, return_carry=return_carry)

    def init_input(key: Key, inputs: Any) -> Weights:
        x = checks.one_shape(name, as_sequences(name, inputs).x)
        checks.floating_dtype(name, x.dtype)
        _require_axes(name, x)
        return init(key, x)

    def run(weights: Weights, inputs: Any, carry: Any) -> tuple[Any, Any]:
        given = as_sequences(name, inputs)
        steps = given.carry if carry is None else carry
        x = checks.floating(name, given.x)
        _require_axes(name, x)
        if (most := room(weights)) is not None:
            _require_room(name, most, steps, x.shape[1])
        place = places(steps, x.shape[1])
        added = rows(weights, place, x)
        y = x + (added if added.ndim == 3 else jnp.expand_dims(added, 0))
        so_far = jnp.zeros((), jnp.int32) if steps is None else steps
        if given.lengths is None:
            return y, so_far + x.shape[1]
        lengths = checked_lengths(name, given.lengths, x)
        y = jnp.where(real_steps(lengths, y), y, jnp.zeros_like(y))
        return (y, given.lengths), so_far + jnp.clip(lengths, 0, x.shape[1])

    def apply(weights: Weights, inputs: Any) -> Any:
        y, steps = run(weights, inputs, None)
        return (y, steps) if return_carry else y

    def step(params: Params, inputs: Any, carry: Any) -> tuple[Any, Any]:
        y, steps = run(params.weights, inputs, carry)
        return ((y, steps) if return_carry else y), steps

    layer = stateless(name, init_input, apply, entries=entries)
    return replace(layer, stream=lambda params, room: partial(step, params))


def _require_axes(name: str, x: Any) -> None:
    if len(x.shape) != 3 or (isinstance(x.shape[1], int) and x.shape[1] == 0):
        raise ValueError(f"{name}: x must be (N, T, F) with at least one step, got shape {x.shape}")


def _require_room(name: str, room: int, steps: Any, count: int) -> None:
    """Raises where it is known that there are not enough places."""
    known = 0 if steps is None else largest_known(steps) or 0
    if known + count > room:
        so_far = f" after {known}" if known else ""
        raise ValueError(f"{name}: room must be enough for all steps, {room}, got {count}{so_far}")
