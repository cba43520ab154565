"""What one step of a recurrent network computes, and the checks of its arguments.

A cell is ``cell(weights, carry, gates) -> carry``. ``gates`` is the input's share of the gates, x·W + b;
``weights`` is all that the carry meets; the first array of the carry is the output. Carry and gates are in
the accumulator's dtype.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxnn.ops.checks import accumulator, floating, same_dtype

Activation = Callable[[jax.Array], jax.Array]
HiddenAndCell = tuple[jax.Array, jax.Array]
Cell = Callable[[Any, Any, jax.Array], Any]


@dataclass(frozen=True)
class RnnCell:
    """The cell of ``rnn``. Equal for equal activations, so that a compiled loop is found again."""

    activation: Activation

    def __call__(self, weights: tuple[jax.Array], h: jax.Array, gates: jax.Array) -> jax.Array:
        total = gates + product(h, weights[0])
        h = self.activation(total)
        if h.shape != total.shape or h.dtype != total.dtype:
            raise ValueError(
                f"rnn: activation must keep shape and dtype, got {h.dtype}{list(h.shape)} "
                f"from {total.dtype}{list(total.shape)}"
            )
        return h


def lstm_cell(weights: tuple[jax.Array], carry: HiddenAndCell, gates: jax.Array) -> HiddenAndCell:
    """The cell of ``lstm``."""
    h, c = carry
    i, f, g, o = jnp.split(gates + product(h, weights[0]), 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru_cell(weights: tuple[jax.Array, jax.Array | None], h: jax.Array, gates: jax.Array) -> jax.Array:
    """The cell of ``gru``."""
    recurrent_kernel, recurrent_bias = weights
    input_r, input_z, input_n = jnp.split(gates, 3, axis=-1)
    recurrent_r, recurrent_z, recurrent_n = jnp.split(product(h, recurrent_kernel), 3, axis=-1)
    r = jax.nn.sigmoid(input_r + recurrent_r)
    z = jax.nn.sigmoid(input_z + recurrent_z)
    n = jnp.tanh(input_n + r * plus(recurrent_n, recurrent_bias))
    return (1 - z) * n + z * h


def input_gates(x: jax.Array, input_kernel: jax.Array, bias: jax.Array | None) -> jax.Array:
    """x·W + b: the part of the gates that needs no carry."""
    return plus(product(x, input_kernel), bias)


def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x·kernel over the last axis of ``x``, which is rounded to the kernel's dtype; sums are not."""
    contracted = (((x.ndim - 1,), (0,)), ((), ()))
    sums = accumulator(kernel.dtype)
    y: jax.Array = lax.dot_general(x.astype(kernel.dtype), kernel, contracted, preferred_element_type=sums)
    return y


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
    """The GRU's ``recurrent_bias`` as an array that fits, or None."""
    if recurrent_bias is None:
        return None
    bias = floating(op, recurrent_bias, "recurrent_bias")
    same_dtype(op, given.x, recurrent_bias=bias)
    expected = given.recurrent_kernel.shape[:1]
    if bias.shape != expected:
        raise ValueError(f"{op}: recurrent_bias must be (H,) = {expected}, got shape {bias.shape}")
    return bias


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
