"""Sequences of different lengths in one array ``(N, T, ...)``: their real steps, and reversing them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxnn.ops import checks


def reverse_sequences(x: ArrayLike, lengths: ArrayLike | None = None) -> jax.Array:
    """Each sequence back to front within its own length: (N, T, ...) → (N, T, ...).

    y[n, t] = x[n, lengths[n] − 1 − t] for t < lengths[n], and x[n, t] from there on: the padding stays where
    it is. Reversing twice gives the input back. Every dtype is kept.

    Args:
      x: (N, T, ...).
      lengths: (N,) integers, the real steps of each sequence; None for all of them. Values below 0 count as 0
        and values above T as T.

    Raises:
      ValueError: if ``x`` has no time axis or ``lengths`` is not (N,).
      TypeError: if ``lengths`` are not integers.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> nn.ops.reverse_sequences(jnp.array([[1, 2, 3, 4], [5, 6, 7, 8]]), jnp.array([4, 2]))
    Array([[4, 3, 2, 1],
           [6, 5, 7, 8]], dtype=int32)
    """
    array = checks.array("reverse_sequences", x)
    if array.ndim < 2:
        raise ValueError(f"reverse_sequences: x must be (N, T, ...), got shape {array.shape}")
    if lengths is None:
        return jnp.flip(array, axis=1)
    steps = array.shape[1]
    length = jnp.expand_dims(jnp.minimum(checked_lengths("reverse_sequences", lengths, array), steps), 1)
    step = jnp.expand_dims(jnp.arange(steps, dtype=jnp.int32), 0)
    source = jnp.where(step < length, length - 1 - step, step)
    return jnp.take_along_axis(array, jnp.expand_dims(source, tuple(range(2, array.ndim))), axis=1)


def checked_lengths(op: str, lengths: ArrayLike, x: jax.Array, name: str = "lengths") -> jax.Array:
    """``lengths`` as int32, one per sequence of ``x: (N, T, ...)``; raises unless shape and dtype are right.

    Their values may be traced, so these are not checked.
    """
    array = checks.array(op, _stacked(lengths), name)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{op}: {name} must be integers, got {array.dtype}")
    if array.shape != x.shape[:1]:
        raise ValueError(
            f"{op}: {name} must be (N,) = {x.shape[:1]}, one for each sequence, got shape {array.shape}"
        )
    return array.astype(jnp.int32)


def lengths_within(op: str, lengths: ArrayLike, x: jax.Array, name: str = "lengths") -> jax.Array:
    """``checked_lengths``, which raises too if they are known to be longer than ``x``."""
    array, steps = checked_lengths(op, lengths, x, name), x.shape[1]
    longest = largest_known(array)
    if longest is not None and isinstance(steps, int) and longest > steps:
        raise ValueError(f"{op}: {name} must be at most {steps}, the steps there are, got {longest}")
    return array


def largest_known(values: Any) -> int | None:
    """The largest of integers whose values are known while a program is traced.

    None of traced ones, of an array of which other processes hold a part, and of no values.
    """
    if isinstance(values, jax.core.Tracer):
        return None
    if isinstance(values, jax.Array) and not values.is_fully_addressable:
        return None
    known = np.asarray(values)  # under jit a maximum by JAX would be traced
    return int(known.max()) if known.size else None


def _stacked(lengths: Any) -> Any:
    """A list of numbers as an array; everything else as it is."""
    if not isinstance(lengths, list | tuple):
        return lengths
    try:
        return jnp.asarray(lengths)
    except (TypeError, ValueError):
        return lengths


def real_steps(lengths: jax.Array, x: jax.Array) -> jax.Array:
    """True where a step lies within its sequence's length: (N, T, 1, ...) for ``x: (N, T, ...)``."""
    step, others = jnp.arange(x.shape[1], dtype=jnp.int32), tuple(range(2, x.ndim))
    return jnp.expand_dims(step, (0, *others)) < jnp.expand_dims(of_rows(lengths, x), (1, *others))


def of_rows(lengths: jax.Array, x: jax.Array) -> jax.Array:
    """``lengths`` with the sharding that the batch axis of ``x`` has.

    A select takes operands of one sharding only, and ``lengths`` may come without any: adding a zero made
    from x gives it that of x. The same holds for the axes of a shard_map.
    """
    return lengths + jnp.zeros_like(x[(slice(None), *[0] * (x.ndim - 1))], dtype=jnp.int32)


def real_only(x: jax.Array, lengths: jax.Array, otherwise: Any = 0) -> jax.Array:
    """``x``, (N, T, ...), with zeros past the ends: what stands there reaches nothing, no gradient either."""
    return jnp.where(real_steps(lengths, x), x, jnp.full_like(x, otherwise))


def real_rows(y: jax.Array, lengths: jax.Array) -> jax.Array:
    """``y``, (N, ...), with zeros for sequences without steps."""
    some = jnp.expand_dims(of_rows(lengths, y) > 0, tuple(range(1, y.ndim)))
    return jnp.where(some, y, jnp.zeros_like(y))


def places(steps: jax.Array | None, count: int) -> jax.Array:
    """The places of the next ``count`` steps after ``steps``, () or (N,): (count,) or (N, count)."""
    following = jnp.arange(count, dtype=jnp.int32)
    if steps is None:
        return following
    return steps + following if steps.ndim == 0 else jnp.expand_dims(steps, 1) + jnp.expand_dims(following, 0)
