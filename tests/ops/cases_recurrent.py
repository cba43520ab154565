"""Recurrent ops with typical settings, for the properties that every op must have."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.ops import recurrent, sequences
from jaxnn.ops.conv_lstm import conv_lstm, conv_lstm_step
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


def masked(x: jax.Array, mask: Any, *weights: Any) -> Any:
    return recurrent.gru(x, *weights, state_mask=for_every_row(x, mask), lengths=some_lengths(x))


def projected(x: jax.Array, projection: Any, *weights: Any) -> Any:
    y, (h, c) = recurrent.lstm(x, *weights, projection_kernel=projection, lengths=some_lengths(x))
    return y, h, c


def normalised(x: jax.Array, of_input: Any, of_state: Any, of_cell: Any, bias: Any, *weights: Any) -> Any:
    scales = {"input_scale": of_input, "recurrent_scale": of_state, "cell_scale": of_cell, "cell_bias": bias}
    return recurrent.lstm(x, *weights, **scales, epsilon=0.1, reverse=True)[0]


def of_images(x: jax.Array, *weights: Any) -> Any:
    y, (h, c) = conv_lstm(x, *weights, padding="SAME", strides=2)
    return y, h, c


def step_of_images(x: jax.Array, *weights: Any) -> Any:
    carry = (jnp.zeros_like(x[..., :2]),) * 2
    (h, c), y = conv_lstm_step(carry, x, *weights, padding="SAME")
    return y, h, c


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
    Case("gru-mask", masked, (X, STATE, *kernels(3), STATE)),
    Case("lstm-projected", projected, (X, (H, 2), (F, 4 * H), (2, 4 * H), (4 * H,))),
    Case("lstm-normalised", normalised, (X, *[(4 * H,)] * 2, STATE, STATE, *kernels(4))),
    Case("conv-lstm", of_images, ((2, 3, 4, 3, 2), (2, 2, 2, 8), (2, 2, 2, 8), (8,))),
    Case("conv-lstm-step", step_of_images, ((2, 4, 2), (3, 2, 8), (2, 2, 8), (8,))),
    Case("reverse-sequences", reverse, (X,)),
]
