"""What one step of a recurrent network computes, and the checks of its arguments.

A carry is one array (N, H) or several, of which the first is the output. Carry and gates are in the
accumulator's dtype.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxnn.ops.checks import accumulator, floating, same_dtype

Activation = Callable[[jax.Array], jax.Array]
HiddenAndCell = tuple[jax.Array, jax.Array]


class Cell(NamedTuple):
    """``carry = step(carry, total(x·W + b, h·R + recurrent bias))``, h the first array of the carry.

    ``total`` puts the two shares of the gates together, and is linear; ``step`` is elementwise.
    """

    total: Callable[[jax.Array, jax.Array], Any]
    step: Callable[..., Any]


@dataclass(frozen=True)
class RnnStep:
    """The step of ``rnn``. Equal for equal activations, so that a compiled loop is found again."""

    activation: Activation

    def __call__(self, carry: jax.Array, total: jax.Array) -> jax.Array:
        h = self.activation(total)
        if h.shape != total.shape or h.dtype != total.dtype:
            raise ValueError(
                f"rnn: activation must keep shape and dtype, got {h.dtype}{list(h.shape)} "
                f"from {total.dtype}{list(total.shape)}"
            )
        return h


def lstm_step(carry: HiddenAndCell, total: jax.Array) -> HiddenAndCell:
    """The step of ``lstm``."""
    _, c = carry
    i, f, g, o = jnp.split(total, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru_step(h: jax.Array, total: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
    """The step of ``gru``."""
    both, input_n, recurrent_n = total
    r, z = jnp.split(jax.nn.sigmoid(both), 2, axis=-1)
    n = jnp.tanh(input_n + r * recurrent_n)
    return (1 - z) * n + z * h


def gru_total(x: jax.Array, h: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """r and z are summed; the candidate's shares stand apart, since the reset multiplies only the second."""
    hidden = x.shape[-1] // 3
    split = (2 * hidden, hidden)
    (both_x, n_x), (both_h, n_h) = lax.split(x, split, x.ndim - 1), lax.split(h, split, h.ndim - 1)
    return both_x + both_h, n_x, n_h


def rnn_cell(activation: Activation) -> Cell:
    return Cell(lax.add, RnnStep(activation))


LSTM = Cell(lax.add, lstm_step)
GRU = Cell(gru_total, gru_step)


def gates(x: jax.Array, kernel: jax.Array, bias: jax.Array | None) -> jax.Array:
    """x·kernel + bias: one share of the gates."""
    return plus(product(x, kernel), bias)


def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x·kernel over the last axis of ``x``, which is rounded to the kernel's dtype; sums are not."""
    rows = x.astype(kernel.dtype)
    # As one matrix: of an array with more axes, the kernel's gradient would first be transposed, and slowly.
    # But an axis that is spread over devices can't be merged into the one before it.
    if all(axis is None for axis in jax.typeof(x).sharding.spec[1:-1]):
        rows = lax.reshape(rows, (prod(x.shape[:-1]), x.shape[-1]))
    contracted = (((rows.ndim - 1,), (0,)), ((), ()))
    y = lax.dot_general(rows, kernel, contracted, preferred_element_type=accumulator(kernel.dtype))
    return lax.reshape(y, (*x.shape[:-1], kernel.shape[1]))


def plus(x: jax.Array, bias: jax.Array | None) -> jax.Array:
    """x + bias along the last axis, in the dtype of ``x``."""
    if bias is None:
        return x
    return x + jnp.expand_dims(bias.astype(x.dtype), tuple(range(x.ndim - 1)))


class Operands(NamedTuple):
    """The input and the weights that every recurrent op has, as arrays that fit together."""

    x: jax.Array
    input_kernel: jax.Array
    recurrent_kernel: jax.Array
    bias: jax.Array | None


def operands(
    op: str,
    gates: int,
    axes: str,
    x: ArrayLike,
    input_kernel: ArrayLike,
    recurrent_kernel: ArrayLike,
    bias: ArrayLike | None,
) -> Operands:
    """Raises unless the arrays fit together; ``axes`` names those that ``x`` must have."""
    x = floating(op, x)
    input_kernel = floating(op, input_kernel, "input_kernel")
    recurrent_kernel = floating(op, recurrent_kernel, "recurrent_kernel")
    bias = None if bias is None else floating(op, bias, "bias")
    same_dtype(op, x, input_kernel=input_kernel, recurrent_kernel=recurrent_kernel, bias=bias)
    if x.ndim != axes.count(",") + 1:
        raise ValueError(f"{op}: x must be {axes}, got shape {x.shape}")
    if x.ndim == 3 and x.shape[1] == 0:
        raise ValueError(f"{op}: x must have at least one time step, got shape {x.shape}")
    columns = "H" if gates == 1 else f"{gates}·H"
    shape = recurrent_kernel.shape
    if len(shape) != 2 or shape[1] != gates * shape[0] or shape[0] == 0:
        raise ValueError(f"{op}: recurrent_kernel must be (H, {columns}), got shape {shape}")
    expected = (x.shape[-1], shape[1])
    if input_kernel.shape != expected:
        raise ValueError(
            f"{op}: input_kernel must be (F, {columns}) = {expected} for x of shape {x.shape} and "
            f"recurrent_kernel of shape {shape}, got shape {input_kernel.shape}"
        )
    if bias is not None and bias.shape != shape[1:]:
        raise ValueError(f"{op}: bias must be ({columns},) = {shape[1:]}, got shape {bias.shape}")
    return Operands(x, input_kernel, recurrent_kernel, bias)


def candidate_bias(op: str, recurrent_bias: ArrayLike | None, given: Operands) -> jax.Array | None:
    """The GRU's ``recurrent_bias`` for all gates, (3·H,) with zeros for r and z; or None."""
    if recurrent_bias is None:
        return None
    bias = floating(op, recurrent_bias, "recurrent_bias")
    same_dtype(op, given.x, recurrent_bias=bias)
    expected = given.recurrent_kernel.shape[:1]
    if bias.shape != expected:
        raise ValueError(f"{op}: recurrent_bias must be (H,) = {expected}, got shape {bias.shape}")
    return jnp.pad(bias, (2 * bias.shape[0], 0))


def hidden(op: str, carry: ArrayLike | None, given: Operands, name: str = "carry") -> jax.Array:
    """The initial h (or c) in the accumulator's dtype: ``carry``, or zeros."""
    shape, dtype = (given.x.shape[0], given.recurrent_kernel.shape[0]), accumulator(given.x.dtype)
    if carry is None:
        return jnp.zeros(shape, dtype)
    if isinstance(carry, tuple | list):
        raise TypeError(f"{op}: {name} must be one array (N, H), got {describe(carry)}")
    array = floating(op, carry, name)
    if array.dtype not in (given.x.dtype, dtype):
        allowed = dtype if dtype == given.x.dtype else f"{dtype} or {given.x.dtype}"
        raise TypeError(f"{op}: {name} must be {allowed} for x in {given.x.dtype}, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{op}: {name} must be (N, H) = {shape}, got shape {array.shape}")
    return array.astype(dtype)


def hidden_and_cell(op: str, carry: tuple[ArrayLike, ArrayLike] | None, given: Operands) -> HiddenAndCell:
    """The initial (h, c): ``carry``, or zeros."""
    if carry is None:
        return hidden(op, None, given), hidden(op, None, given)
    if not isinstance(carry, tuple) or len(carry) != 2:
        raise TypeError(f"{op}: carry must be a tuple (h, c), got {describe(carry)}")
    return hidden(op, carry[0], given, "carry h"), hidden(op, carry[1], given, "carry c")


def describe(value: object) -> str:
    """What came, for a sentence: a shape rather than numbers."""
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"an array of shape {value.shape}" if hasattr(value, "shape") else repr(value)
