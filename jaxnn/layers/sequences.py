"""The input of layers over sequences: x alone, with lengths, or with a carry too."""

from __future__ import annotations

from typing import Any, NamedTuple


class Sequences(NamedTuple):
    """The full input of a recurrent layer, where ``x`` alone is not enough.

    A plain ``(x, lengths)`` means the same as ``Sequences(x, lengths)``.

    Attributes:
      x: (N, T, F).
      lengths: (N,) integers, how many steps of each sequence are real; None for all.
      carry: the initial carry, as ``return_carry=True`` gives it; None for zeros.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> layer = nn.gru(4, return_carry=True)
    >>> params = layer.init(jax.random.key(0), (2, 6, 3))
    >>> x = jnp.ones((2, 6, 3))
    >>> first, carry = layer.apply(params, x[:, :4])
    >>> rest, carry = layer.apply(params, nn.Sequences(x[:, 4:], carry=carry))
    >>> whole, _ = layer.apply(params, x)
    >>> bool(jnp.allclose(jnp.concatenate([first, rest], axis=1), whole, atol=1e-6))
    True
    """

    x: Any
    lengths: Any = None
    carry: Any = None


def as_sequences(layer: str, inputs: Any) -> Sequences:
    """The input of a recurrent layer in any of its forms as ``Sequences``."""
    if not isinstance(inputs, tuple):
        return Sequences(inputs)
    if not 1 <= len(inputs) <= 3:
        raise ValueError(
            f"{layer}: the input must be x, (x, lengths) or Sequences(x, lengths, carry), "
            f"got a tuple of {len(inputs)}"
        )
    return Sequences(*inputs)
