"""Sequences of different lengths in one array ``(N, T, ...)``: their real steps, reversing, a loop over time.

What one step computes stands in ``cells``.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

Carry = TypeVar("Carry")

#: Steps in one iteration of the compiled loop: they share its overhead, and each adds to the compile time.
UNROLL = 2


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
    array = jnp.asarray(x)
    if array.ndim < 2:
        raise ValueError(f"reverse_sequences: x must be (N, T, ...), got shape {array.shape}")
    if lengths is None:
        return jnp.flip(array, axis=1)
    steps = array.shape[1]
    length = jnp.expand_dims(jnp.minimum(checked_lengths("reverse_sequences", lengths, array), steps), 1)
    step = jnp.expand_dims(jnp.arange(steps, dtype=jnp.int32), 0)
    source = jnp.where(step < length, length - 1 - step, step)
    return jnp.take_along_axis(array, jnp.expand_dims(source, tuple(range(2, array.ndim))), axis=1)


def checked_lengths(op: str, lengths: ArrayLike, x: jax.Array) -> jax.Array:
    """``lengths`` as int32, one for each sequence of ``x: (N, T, ...)``; raises unless they can be that.

    Their values may be traced, so they are not looked at.
    """
    array = jnp.asarray(lengths)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{op}: lengths must be integers, got {array.dtype}")
    if array.shape != x.shape[:1]:
        raise ValueError(
            f"{op}: lengths must be (N,) = {x.shape[:1]}, one for each sequence, got shape {array.shape}"
        )
    return array.astype(jnp.int32)


def real_steps(lengths: jax.Array, x: jax.Array) -> jax.Array:
    """True where a step lies within its sequence's length: (N, T, 1) for ``x: (N, T, F)``."""
    # A select takes operands of one sharding only, and ``lengths`` may come without any: adding a zero that
    # is made from x gives it that of x. The same holds for the axes of a shard_map.
    lengths = lengths + jnp.zeros_like(x[:, 0, 0], dtype=jnp.int32)
    step = jnp.arange(x.shape[1], dtype=jnp.int32)
    return jnp.expand_dims(step, (0, 2)) < jnp.expand_dims(lengths, (1, 2))


def over_time(
    cell: Callable[[Carry, jax.Array], Carry],
    carry: Carry,
    inputs: jax.Array,
    real: jax.Array | None,
    *,
    reverse: bool,
    dtype: jnp.dtype,
) -> tuple[jax.Array, Carry]:
    """Runs ``cell`` over the leading axis of ``inputs: (T, N, G)``.

    Args:
      cell: ``cell(carry, inputs[t]) -> carry``. The first array of the carry is the output.
      carry: the initial one, arrays (N, H).
      inputs: (T, N, G), T at least 1.
      real: (T, N, 1), False where a step lies past the end: there the carry stays and the output is zero.
        Going backwards, the carry thus waits at its initial value for the sequence's last step: each sequence
        is reversed within its own length.
      reverse: from the last step to the first. Outputs stand where their inputs stand.
      dtype: of the outputs.

    Returns:
      The outputs (T, N, H) and the final carry.
    """

    def step(carry: Carry, now: tuple[jax.Array, jax.Array | None]) -> tuple[Carry, jax.Array]:
        values, going = now
        following = cell(carry, values)
        output = jax.tree.leaves(following)[0].astype(dtype)
        if going is not None:
            following = jax.tree.map(lambda new, old: jnp.where(going, new, old), following, carry)
            output = jnp.where(going, output, jnp.zeros_like(output))
        return following, output

    # A scan wants its first carry sharded, and varying over the axes of a shard_map, as all later ones are.
    # Zeros made from what the cell gives are; nothing else of the cell is left in the compiled program.
    carry = jax.tree.map(lambda c, like: c + jnp.zeros_like(like), carry, cell(carry, inputs[0]))
    final, outputs = lax.scan(step, carry, (inputs, real), reverse=reverse, unroll=UNROLL)
    return outputs, final
