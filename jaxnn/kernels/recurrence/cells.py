"""One step of each recurrent network, and its slopes.

A carry is one array (N, H) or several, of which the first is the output. Carry and gates are in the
accumulator's dtype.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.kernels.matrix_product import matrix_product

Activation = Callable[[jax.Array], jax.Array]
HiddenAndCell = tuple[jax.Array, jax.Array]


class Cell(NamedTuple):
    """``carry = step(carry, sums(x·W + b, h·R + recurrent bias))``, h the first array of the carry.

    ``sums`` is linear and combines the two shares of the gates; ``step`` is elementwise and may read h
    itself. Its derivative is ``tangent(slopes(step, carry, sums), d_carry, d_sums)``: ``slopes`` can be
    computed for many steps at once, and ``tangent`` consists of multiplications.
    """

    sums: Callable[[jax.Array, jax.Array], Any]
    step: Callable[..., Any]
    slopes: Callable[..., Any]
    tangent: Callable[[Any, Any, Any], Any]
    reads_h: bool = False


@dataclass(frozen=True)
class RnnStep:
    """The step of ``rnn``. Equal for equal activations, so that a compiled loop is reused."""

    activation: Activation

    def __call__(self, carry: jax.Array, sums: jax.Array) -> jax.Array:
        h = self.activation(sums)
        if h.shape != sums.shape or h.dtype != sums.dtype:
            raise ValueError(
                f"rnn: activation must keep shape and dtype, got {h.dtype}{list(h.shape)} "
                f"from {sums.dtype}{list(sums.shape)}"
            )
        return h


def rnn_slopes(step: Callable[..., jax.Array], h: jax.Array, sums: jax.Array) -> jax.Array:
    """The activation's derivative."""
    slope: jax.Array = jax.jvp(partial(step, h), (sums,), (jnp.ones_like(sums),))[1]
    return slope


def rnn_tangent(slope: jax.Array, d_h: jax.Array, d_sums: jax.Array) -> jax.Array:
    return slope * d_sums


def lstm_step(carry: HiddenAndCell, sums: jax.Array) -> HiddenAndCell:
    """The step of ``lstm``."""
    _, c = carry
    i, f, g, o = jnp.split(sums, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def lstm_slopes(step: Any, carry: HiddenAndCell, sums: jax.Array) -> tuple[jax.Array, ...]:
    """The slopes of the new c in the old one, i, f and g; of the new h in the new c and o."""
    _, c = carry
    i, f, g, o = jnp.split(sums, 4, axis=-1)
    i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
    squashed = jnp.tanh(f * c + i * g)
    by_gates = (g * i * (1 - i), c * f * (1 - f), i * (1 - g * g))
    return f, jnp.concatenate(by_gates, axis=-1), o * (1 - squashed * squashed), squashed * o * (1 - o)


def lstm_tangent(slopes: tuple[jax.Array, ...], d_carry: HiddenAndCell, d_sums: jax.Array) -> HiddenAndCell:
    by_c, by_gates, h_by_c, h_by_o = slopes
    hidden = by_c.shape[-1]
    d_gates, d_o = lax.split(d_sums, (3 * hidden, hidden), d_sums.ndim - 1)
    by_i, by_f, by_g = lax.split(by_gates * d_gates, (hidden,) * 3, d_sums.ndim - 1)
    d_c = by_c * d_carry[1] + by_i + by_f + by_g
    return h_by_c * d_c + h_by_o * d_o, d_c


def gru_step(h: jax.Array, sums: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
    """The step of ``gru``."""
    both, input_n, recurrent_n = sums
    r, z = jnp.split(jax.nn.sigmoid(both), 2, axis=-1)
    n = jnp.tanh(input_n + r * recurrent_n)
    return (1 - z) * n + z * h


def gru_slopes(step: Any, h: jax.Array, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """The slopes of the new h in the old one, in r and z, and in the two shares of n."""
    both, input_n, recurrent_n = sums
    r, z = jnp.split(jax.nn.sigmoid(both), 2, axis=-1)
    n = jnp.tanh(input_n + r * recurrent_n)
    by_n = (1 - z) * (1 - n * n)
    by_both = jnp.concatenate([by_n * recurrent_n * r * (1 - r), (h - n) * z * (1 - z)], axis=-1)
    return z, by_both, by_n, by_n * r


def gru_tangent(slopes: tuple[jax.Array, ...], d_h: jax.Array, d_sums: tuple[jax.Array, ...]) -> jax.Array:
    by_h, by_both, by_input_n, by_recurrent_n = slopes
    d_both, d_input_n, d_recurrent_n = d_sums
    by_r, by_z = lax.split(by_both * d_both, by_h.shape[-1:] * 2, d_both.ndim - 1)
    return by_h * d_h + by_r + by_z + by_input_n * d_input_n + by_recurrent_n * d_recurrent_n


def gru_sums(x: jax.Array, h: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The sums for r and z; the candidate's shares stay apart, since the reset multiplies only the second."""
    hidden = x.shape[-1] // 3
    split = (2 * hidden, hidden)
    (both_x, n_x), (both_h, n_h) = lax.split(x, split, x.ndim - 1), lax.split(h, split, h.ndim - 1)
    return both_x + both_h, n_x, n_h


def rnn_cell(activation: Activation) -> Cell:
    return Cell(lax.add, RnnStep(activation), rnn_slopes, rnn_tangent)


LSTM = Cell(lax.add, lstm_step, lstm_slopes, lstm_tangent)
GRU = Cell(gru_sums, gru_step, gru_slopes, gru_tangent, reads_h=True)


def gates(x: jax.Array, kernel: jax.Array, bias: jax.Array | None) -> jax.Array:
    """x·kernel + bias: one share of the gates. x is rounded to the kernel's dtype; sums are not."""
    return plus(matrix_product(x.astype(kernel.dtype), kernel), bias)


def plus(x: jax.Array, bias: jax.Array | None) -> jax.Array:
    """x + bias along the last axis, in the dtype of ``x``."""
    if bias is None:
        return x
    return x + jnp.expand_dims(bias.astype(x.dtype), tuple(range(x.ndim - 1)))
