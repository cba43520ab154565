"""Recurrent ops with typical settings, for the properties that every op must have."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.ops import recurrent, sequences
from tests.ops.case import Case, Shape

N, T, F, H = 3, 4, 2, 3


def some_lengths(x: jax.Array) -> jax.Array:
    """Lengths between 0 and T that go with the rows, in whatever batch those stand."""
    return (4 * jnp.abs(x[:, 0, 0])).astype(jnp.int32) % (T + 1)


def for_every_row(x: jax.Array, h: jax.Array) -> jax.Array:
    """One initial state (H,) as (N, H): as many rows as ``x`` has, sharded alike."""
    mesh, spec = jax.typeof(x).sharding.mesh, jax.P(jax.typeof(x).sharding.spec[0])
    rows = None if mesh.empty else jax.NamedSharding(mesh, spec)
    return jnp.broadcast_to(jnp.expand_dims(jnp.asarray(h), 0), (x.shape[0], *h.shape), out_sharding=rows)


def rnn_softplus(x: jax.Array, *weights: Any) -> jax.Array:
    return recurrent.rnn(x, *weights, activation=jax.nn.softplus)[0]


def rnn_carry(x: jax.Array, h: Any, *weights: Any) -> Any:
    return recurrent.rnn(x, *weights, carry=for_every_row(x, h), lengths=some_lengths(x))


def rnn_step(x: jax.Array, h: Any, *weights: Any) -> Any:
    return recurrent.rnn_step(for_every_row(x, h), x, *weights)


def lstm(x: jax.Array, *weights: Any) -> jax.Array:
    return recurrent.lstm(x, *weights)[0]


def lstm_carry(x: jax.Array, h: Any, c: Any, *weights: Any) -> Any:
    carry = (for_every_row(x, h), for_every_row(x, c))
    y, (h, c) = recurrent.lstm(x, *weights, carry=carry, lengths=some_lengths(x), reverse=True)
    return y, h, c


def lstm_step(x: jax.Array, h: Any, c: Any, *weights: Any) -> Any:
    (h, c), y = recurrent.lstm_step((for_every_row(x, h), for_every_row(x, c)), x, *weights)
    return h, c, y


def gru(x: jax.Array, *weights: Any) -> jax.Array:
    return recurrent.gru(x, *weights, lengths=some_lengths(x))[0]


def gru_carry(x: jax.Array, h: Any, *weights: Any) -> Any:
    return recurrent.gru(x, *weights, carry=for_every_row(x, h), reverse=True)


def gru_step(x: jax.Array, h: Any, *weights: Any) -> Any:
    return recurrent.gru_step(for_every_row(x, h), x, *weights)


def reverse(x: jax.Array) -> jax.Array:
    return sequences.reverse_sequences(x, some_lengths(jnp.asarray(x)))


def kernels(gates: int, features: int = F, hidden: int = H) -> tuple[Shape, Shape, Shape]:
    return (features, gates * hidden), (hidden, gates * hidden), (gates * hidden,)


X, STATE = (N, T, F), (H,)
LARGE = (16, T, 600)

CASES = [
    Case("rnn-softplus", rnn_softplus, (X, *kernels(1)), large=(LARGE, *kernels(1, 600))),
    Case("rnn-lengths-carry", rnn_carry, (X, STATE, *kernels(1))),
    Case("rnn-step", rnn_step, ((N, F), STATE, *kernels(1))),
    Case("lstm", lstm, (X, *kernels(4)), large=(LARGE, *kernels(4, 600))),
    Case("lstm-reverse-lengths-carry", lstm_carry, (X, STATE, STATE, *kernels(4))),
    Case("lstm-step", lstm_step, ((N, F), STATE, STATE, *kernels(4))),
    Case("gru-lengths", gru, (X, *kernels(3), STATE), large=(LARGE, *kernels(3, 600), STATE)),
    Case("gru-reverse-carry", gru_carry, (X, STATE, *kernels(3), STATE)),
    Case("gru-step", gru_step, ((N, F), STATE, *kernels(3), STATE)),
    Case("reverse-sequences", reverse, (X,)),
]
