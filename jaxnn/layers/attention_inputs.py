"""The input of an attention layer in all its forms: a sequence, with lengths and a carry, or a memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from jaxnn.layers.attention_cache import Cache
from jaxnn.ops import checks
from jaxnn.ops.sequences import lengths_within, real_only
from jaxnn.sequences import as_sequences


class Given(NamedTuple):
    """The input, taken apart; what stands past an end is zero.

    Attributes:
      x: (N, T, F), from which the queries come.
      lengths: (N,), how many steps of each are real; None for all.
      stated: the lengths as they came, which the output repeats.
      carry: the cache of the steps before; None for none.
      memory: (N, S, F), from which keys and values come; None for x itself.
      memory_lengths: how many steps of each memory are real; None for all.
    """

    x: jax.Array
    lengths: jax.Array | None = None
    stated: Any = None
    carry: Cache | None = None
    memory: jax.Array | None = None
    memory_lengths: jax.Array | None = None

    @property
    def source(self) -> jax.Array:
        """From what keys and values are made."""
        return self.x if self.memory is None else self.memory

    @property
    def source_lengths(self) -> jax.Array | None:
        return self.lengths if self.memory is None else self.memory_lengths


def given_inputs(name: str, inputs: Any) -> Given:
    """The input in any of its forms; raises unless its arrays have three axes and fit together."""
    if not _has_memory(name, inputs):
        x, lengths, carry = as_sequences(name, inputs)
        if carry is not None and not isinstance(carry, Cache):
            raise TypeError(
                f"{name}: carry must be one that this layer returned, got {checks.described(carry)}"
            )
        x, of_each = _real(name, _array(name, x, "x", "(N, T, F)"), lengths, "lengths")
        return Given(x, of_each, lengths, carry)
    (x, lengths), (memory, memory_lengths) = (
        part if isinstance(part, tuple) and len(part) == 2 else (part, None) for part in inputs
    )
    x = _array(name, x, "x", "(N, T, F)")
    memory = _array(name, memory, "the memory", "(N, S, F)")
    if memory.shape[0] != x.shape[0] or memory.dtype != x.dtype:
        raise ValueError(
            f"{name}: the memory must have the batch and the dtype of x, got {checks.described(memory)} and "
            f"{checks.described(x)}"
        )
    x, of_each = _real(name, x, lengths, "lengths")
    memory, of_memory = _real(name, memory, memory_lengths, "the memory's lengths")
    return Given(x, of_each, lengths, None, memory, of_memory)


def input_specs(name: str, inputs: Any) -> tuple[Any, Any]:
    """The specs of x and of what keys and values are made from."""
    if _has_memory(name, inputs):
        found = [part[0] if isinstance(part, tuple) else part for part in inputs]
    else:
        found = [as_sequences(name, inputs).x] * 2
    for spec in found:
        checks.floating_dtype(name, checks.one_shape(name, spec).dtype)
        if len(spec.shape) != 3:
            raise ValueError(f"{name}: x must be (N, T, F), got shape {spec.shape}")
    return found[0], found[1]


def _has_memory(name: str, inputs: Any) -> bool:
    """Whether the input is ``(query, memory)``; raises where the memory is None."""
    pair = isinstance(inputs, tuple) and not hasattr(inputs, "_fields") and len(inputs) == 2
    if not pair or _are_lengths(inputs[1]):
        return False
    memory = inputs[1]
    if memory is None or (isinstance(memory, tuple) and len(memory) == 2 and memory[0] is None):
        raise ValueError(f"{name}: the memory must be an array (N, S, F), or (array, lengths), got None")
    return True


def _are_lengths(value: Any) -> bool:
    """Whether the second of a pair are lengths, and not a memory."""
    if isinstance(value, tuple | list):
        return bool(value) and all(isinstance(entry, int) for entry in value)
    return value is not None and len(getattr(value, "shape", ())) <= 1


def _array(name: str, value: Any, what: str, axes: str) -> jax.Array:
    array = checks.floating(name, value, what)
    if array.ndim != 3 or array.shape[1] == 0:
        raise ValueError(f"{name}: {what} must be {axes} with at least one step, got shape {array.shape}")
    return array


def _real(name: str, x: jax.Array, lengths: Any, what: str) -> tuple[jax.Array, jax.Array | None]:
    """``x`` with zeros past its ends, and the checked lengths."""
    if lengths is None:
        return x, None
    of_each = lengths_within(name, lengths, x, what)
    return real_only(x, of_each), of_each
