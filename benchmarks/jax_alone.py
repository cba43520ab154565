"""What JAX alone has for an operation of ``jaxnn.ops``, in the usual form."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks import specs
from benchmarks.contenders import plain
from benchmarks.contenders.model import stamping_kernel

Shape = tuple[int, ...]


def dimension_numbers(x: Any) -> tuple[str, str, str]:
    space = "DHW"[-(x.ndim - 2) :]
    return f"N{space}C", f"{space}IO", f"N{space}C"


def conv(
    x: Any,
    kernel: Any,
    bias: Any = None,
    *,
    strides: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Any:
    rank = x.ndim - 2
    y = lax.conv_general_dilated(
        x,
        kernel,
        (strides,) * rank,
        ((padding,) * 2,) * rank,
        rhs_dilation=(dilation,) * rank,
        dimension_numbers=dimension_numbers(x),
        feature_group_count=groups,
    )
    return y if bias is None else y + bias


def conv_transpose(
    x: Any,
    kernel: Any,
    bias: Any = None,
    *,
    strides: int,
    padding: int = 0,
    groups: int = 1,
    output_padding: int = 0,
) -> Any:
    rank, low = x.ndim - 2, kernel.shape[0] - 1 - padding
    y = lax.conv_general_dilated(
        x,
        stamping_kernel(kernel, groups),
        (1,) * rank,
        ((low, low + output_padding),) * rank,
        lhs_dilation=(strides,) * rank,
        dimension_numbers=dimension_numbers(x),
        feature_group_count=groups,
    )
    return y if bias is None else y + bias


def pool(x: Any, *, window: int, strides: int | None = None, padding: int = 0, kind: str = "max") -> Any:
    rank = x.ndim - 2
    sizes, steps = (1, *(window,) * rank, 1), (1, *(strides or window,) * rank, 1)
    pads = ((0, 0), *((padding,) * 2,) * rank, (0, 0))
    if kind == "avg":
        total = lax.reduce_window(x, np.zeros((), x.dtype), lax.add, sizes, steps, pads)
        return total / lax.reduce_window(jnp.ones_like(x), np.zeros((), x.dtype), lax.add, sizes, steps, pads)
    least = -jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
    most = jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).max
    start, function = (least, lax.max) if kind == "max" else (most, lax.min)
    return lax.reduce_window(x, np.asarray(start, x.dtype), function, sizes, steps, pads)


def norm(x: Any, scale: Any, bias: Any = None, *, kind: str, groups: int = 1) -> Any:
    return plain.norm(specs.Norm(kind, groups), {"scale": scale, "bias": bias}, x, None)


def instance_norm(x: Any, scale: Any, bias: Any) -> Any:
    axes = tuple(range(1, x.ndim - 1))
    mean, var = jnp.mean(x, axes, keepdims=True), jnp.var(x, axes, keepdims=True)
    return (x - mean) * lax.rsqrt(var + 1e-5) * scale + bias


def recurrent(x: Any, inputs: Any, recurrent: Any, bias: Any, *, kind: str) -> Any:
    weights = {"input_kernel": inputs, "recurrent_kernel": recurrent, "bias": bias}
    return plain.recurrent(specs.Recurrent(kind, recurrent.shape[0]), weights, x, None)


def step(x: Any, inputs: Any, recurrent: Any, bias: Any, h: Any, c: Any = None, *, kind: str) -> Any:
    cell = {"lstm": plain._lstm, "gru": plain._gru, "rnn": plain._rnn}[kind]
    return cell((h, c) if kind == "lstm" else h, x @ inputs + bias, recurrent)[1]


def conv_lstm_step(
    x: Any, inputs: Any, recurrent: Any, bias: Any, h: Any, c: Any, *, conv: Callable[..., Any]
) -> tuple[Any, Any]:
    """h and c after a step, windows of 3 that keep the size."""
    gates = conv(x, inputs, bias, padding=1) + conv(h, recurrent, padding=1)
    i, f, g, o = jnp.split(gates, 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def conv_lstm(x: Any, inputs: Any, recurrent: Any, bias: Any, *, conv: Callable[..., Any]) -> Any:
    """The outputs of a sequence, from zeros."""
    zeros = jnp.zeros((*x.shape[:1], *x.shape[2:-1], recurrent.shape[-2]), x.dtype)

    def step(carry: Any, x: Any) -> tuple[Any, Any]:
        carry = conv_lstm_step(x, inputs, recurrent, bias, *carry, conv=conv)
        return carry, carry[0]

    return jnp.swapaxes(lax.scan(step, (zeros, zeros), jnp.swapaxes(x, 0, 1))[1], 0, 1)


def attention_pool(x: Any, kernel: Any) -> Any:
    flat = x.reshape(x.shape[0], -1, x.shape[-1])
    shares = jax.nn.softmax(flat @ kernel, 1)
    split = flat.reshape(*flat.shape[:2], kernel.shape[1], -1)
    return jnp.einsum("nph,nphc->nhc", shares, split).reshape(x.shape[0], -1)


def matrices(x: Any, *, size: Shape, method: str) -> Any:
    """Resizing as one dense matrix per axis."""
    for axis, length in enumerate(size, 1):
        matrix = plain.resize_matrix(x.shape[axis], length / x.shape[axis], method)
        x = jnp.moveaxis(jnp.tensordot(jnp.asarray(matrix, x.dtype), x, (1, axis)), 0, axis)
    return x


def gathered(x: Any, *, size: Shape) -> Any:
    """Resizing by nearest, for any dtype."""
    for axis, length in enumerate(size, 1):
        x = jnp.take(x, ((np.arange(length) + 0.5) * x.shape[axis] / length).astype(int), axis)
    return x


def rotary(x: Any) -> Any:
    half = x.shape[-1] // 2
    angles = jnp.arange(x.shape[1])[:, None] / 10_000.0 ** (jnp.arange(half) / half)
    cos, sin = (f(angles).astype(x.dtype)[:, None] for f in (jnp.cos, jnp.sin))
    a, b = x[..., :half], x[..., half:]
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def unshuffle(x: Any) -> Any:
    n, h, w, c = x.shape
    split = x.reshape(n, h // 2, 2, w // 2, 2, c)
    return split.transpose(0, 1, 3, 5, 2, 4).reshape(n, h // 2, w // 2, 4 * c)


def adaptive(x: Any, size: int, reduce: Callable[..., Any]) -> Any:
    """Bins from ⌊i·n/o⌋ to ⌈(i+1)·n/o⌉, one reduction each."""
    for axis in range(1, x.ndim - 1):
        n = x.shape[axis]
        bins = [(i * n // size, -(-(i + 1) * n // size)) for i in range(size)]
        x = jnp.stack([reduce(lax.slice_in_dim(x, a, b, axis=axis), axis) for a, b in bins], axis)
    return x


def unpool(x: Any) -> Any:
    """Each window's largest value where it stood, zeros elsewhere."""
    n, h, w, c = x.shape
    windows = (
        x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 5, 2, 4).reshape(n, h // 2, w // 2, c, 4)
    )
    there = jax.nn.one_hot(jnp.argmax(windows, -1), 4, dtype=x.dtype)
    return (windows * there).reshape(n, h // 2, w // 2, c, 2, 2).transpose(0, 1, 4, 2, 5, 3).reshape(x.shape)


def sparsemax(x: Any) -> Any:
    ordered = -jnp.sort(-x, -1)
    ranks = jnp.arange(1, x.shape[-1] + 1, dtype=x.dtype)
    sums = jnp.cumsum(ordered, -1)
    support = jnp.sum(1 + ranks * ordered > sums, -1, keepdims=True)
    threshold = (jnp.take_along_axis(sums, support - 1, -1) - 1) / support.astype(x.dtype)
    return jnp.maximum(x - threshold, 0)
