"""Every layer in plain lax: what one writes by hand, and what most libraries amount to.

``run`` walks a net and looks each leaf up in a table of forms: ``LAX`` here, another one in ``reference``.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks import specs
from benchmarks.contenders.model import Model, stamping_kernel

Form = Callable[[Any, Any, Any, Any], Any]  #: form(spec, weights, x, key) -> y


def run(forms: Mapping[type, Form], spec: specs.Spec, weights: Any, x: Any, key: Any) -> Any:
    """``spec`` applied to ``x`` with each leaf computed by its form."""
    match spec:
        case specs.Serial(parts):
            for i, (part, w) in enumerate(zip(parts, weights, strict=True)):
                x = run(forms, part, w, x, jax.random.fold_in(key, i))
            return x
        case specs.Sum(parts):
            return sum(run(forms, part, w, x, key) for part, w in zip(parts, weights, strict=True))
        case specs.Skip(body):
            return jnp.concatenate([x, run(forms, body, weights[0], x, key)], -1)
    return forms[type(spec)](spec, weights, x, key)


def build(spec: specs.Spec, shape: specs.Shape, dtype: Any) -> Model:
    """The net as a function of its weights; no running statistics."""

    def apply(weights: Any, state: Any, x: Any, key: Any) -> tuple[Any, Any]:
        return run(LAX, spec, weights, x, key), state

    return Model(apply, pack=lambda weights: weights)


def dense(spec: specs.Dense, weights: Any, x: Any, key: Any) -> Any:
    y = x.reshape(spec.rows(x.shape)) @ weights["kernel"] + weights["bias"]
    return y.reshape(-1, *spec.to) if spec.to else y


def conv(spec: specs.Conv, weights: Any, x: Any, key: Any) -> Any:
    return lax.conv_general_dilated(
        x,
        weights["kernel"],
        (spec.strides,) * 2,
        ((spec.padding,) * 2,) * 2,
        rhs_dilation=(spec.dilation,) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=spec.groups,
    )


def conv_transpose(spec: specs.ConvTranspose, weights: Any, x: Any, key: Any) -> Any:
    """A convolution of the dilated input with the flipped kernel."""
    low = spec.window - 1 - spec.padding
    return lax.conv_general_dilated(
        x,
        stamping_kernel(weights["kernel"], spec.groups),
        (1, 1),
        ((low, low + spec.output_padding),) * 2,
        lhs_dilation=(spec.strides,) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=spec.groups,
    )


def pool(spec: specs.Pool, weights: Any, x: Any, key: Any) -> Any:
    window, strides = (1, spec.window, spec.window, 1), (1, spec.strides, spec.strides, 1)
    padding = ((0, 0), *((spec.padding,) * 2,) * 2, (0, 0))
    if spec.kind == "max":
        return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, padding)
    total = lax.reduce_window(x, 0.0, lax.add, window, strides, padding)
    return total / lax.reduce_window(jnp.ones_like(x), 0.0, lax.add, window, strides, padding)


def norm(spec: specs.Norm, weights: Any, x: Any, key: Any) -> Any:
    shape = x.shape
    match spec.kind:
        case "batch":
            axes = tuple(range(x.ndim - 1))
        case "group":
            x = x.reshape(*shape[:-1], spec.groups, -1)
            axes = (*range(1, x.ndim - 2), x.ndim - 1)
        case _:
            axes = (x.ndim - 1,)
    if spec.kind == "rms":
        y = x * lax.rsqrt(jnp.mean(lax.square(x), axes, keepdims=True) + 1e-5)
        return y * weights["scale"]
    mean, var = jnp.mean(x, axes, keepdims=True), jnp.var(x, axes, keepdims=True)
    y = ((x - mean) * lax.rsqrt(var + 1e-5)).reshape(shape)
    return y * weights["scale"] + weights["bias"]


def resize(spec: specs.Resize, weights: Any, x: Any, key: Any) -> Any:
    if spec.method == "cubic":  # jax.image leaves out taps beyond the edges
        return by_matrices(spec, x)
    return jax.image.resize(x, spec.out(x.shape), spec.method, antialias=False)


def by_matrices(spec: specs.Resize, x: Any) -> Any:
    """Resizing as one dense matrix per axis, edges repeated, cubic coefficient −0.75."""
    for axis in range(1, x.ndim - 1):
        matrix = jnp.asarray(resize_matrix(x.shape[axis], spec.scale, spec.method), x.dtype)
        x = jnp.moveaxis(jnp.tensordot(matrix, x, (1, axis)), 0, axis)
    return x


def resize_matrix(size: int, scale: float, method: str) -> np.ndarray:
    """Row i holds the weights of output pixel i."""
    matrix = np.zeros((round(size * scale), size))
    for i in range(len(matrix)):
        s = (i + 0.5) / scale - 0.5
        below = int(np.floor(s))
        if method == "nearest":
            taps = {int((i + 0.5) / scale): 1.0}
        elif method == "linear":
            taps = {below: 1 - (s - below), below + 1: s - below}
        else:
            taps = {j: _cubic(abs(s - j)) for j in range(below - 1, below + 3)}
        for j, weight in taps.items():
            matrix[i, np.clip(j, 0, size - 1)] += weight
    return matrix


def _cubic(d: float, a: float = -0.75) -> float:
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def pixel_shuffle(spec: specs.PixelShuffle, weights: Any, x: Any, key: Any) -> Any:
    n, h, w, c = x.shape
    x = x.reshape(n, h, w, -1, spec.scale, spec.scale)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(spec.out((n, h, w, c)))


def function(spec: specs.Function, weights: Any, x: Any, key: Any) -> Any:
    return getattr(jax.nn, spec.name)(x)


def prelu(spec: specs.Prelu, weights: Any, x: Any, key: Any) -> Any:
    return jnp.where(x >= 0, x, weights["slope"] * x)


def maxout(spec: specs.Maxout, weights: Any, x: Any, key: Any) -> Any:
    return jnp.max(x.reshape(*x.shape[:-1], -1, spec.pieces), -1)


def dropout(spec: specs.Dropout, weights: Any, x: Any, key: Any) -> Any:
    keep = jax.random.bernoulli(key, 1 - spec.rate, x.shape)
    return jnp.where(keep, x / (1 - spec.rate), 0)


def recurrent(spec: specs.Recurrent, weights: Any, x: Any, key: Any) -> Any:
    """A scan over time, both products of a step inside it."""
    cell = {"lstm": _lstm, "gru": _gru, "rnn": _rnn}[spec.kind]

    def step(carry: Any, x: Any) -> Any:
        return cell(carry, x @ weights["input_kernel"] + weights["bias"], weights["recurrent_kernel"])

    zeros = jnp.zeros((x.shape[0], spec.features), x.dtype)
    start = (zeros, zeros) if spec.kind == "lstm" else zeros
    return jnp.swapaxes(lax.scan(step, start, jnp.swapaxes(x, 0, 1))[1], 0, 1)


def attention(spec: specs.Attention, weights: Any, x: Any, key: Any) -> Any:
    return spec.joined(jax.nn.dot_product_attention(*spec.parts(jnp.split(x, 3, -1)), is_causal=spec.causal))


def _lstm(carry: Any, gates: Any, kernel: Any) -> Any:
    h, c = carry
    i, f, g, o = jnp.split(gates + h @ kernel, 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h


def _gru(h: Any, gates: Any, kernel: Any) -> Any:
    (ri, zi, ni), (rh, zh, nh) = jnp.split(gates, 3, -1), jnp.split(h @ kernel, 3, -1)
    z = jax.nn.sigmoid(zi + zh)
    h = (1 - z) * jnp.tanh(ni + jax.nn.sigmoid(ri + rh) * nh) + z * h
    return h, h


def _rnn(h: Any, gates: Any, kernel: Any) -> Any:
    h = jnp.tanh(gates + h @ kernel)
    return h, h


#: How plain lax computes each leaf.
LAX: dict[type, Form] = {
    specs.Dense: dense,
    specs.Conv: conv,
    specs.ConvTranspose: conv_transpose,
    specs.Pool: pool,
    specs.GlobalAvgPool: lambda spec, weights, x, key: jnp.mean(x, tuple(range(1, x.ndim - 1))),
    specs.Norm: norm,
    specs.Resize: resize,
    specs.PixelShuffle: pixel_shuffle,
    specs.Function: function,
    specs.Prelu: prelu,
    specs.Maxout: maxout,
    specs.Dropout: dropout,
    specs.Embedding: lambda spec, weights, x, key: jnp.take(weights["table"], x, 0),
    specs.Recurrent: recurrent,
    specs.Attention: attention,
}


def prepare(spec: specs.Spec, shape: specs.Shape) -> Callable[[Any], Any]:
    """Weights and a compiled function of them."""
    weights = jax.tree.map(jnp.asarray, specs.draw_weights(spec, shape, np.random.default_rng(0)))
    apply = jax.jit(lambda weights, x: run(LAX, spec, weights, x, jax.random.key(0)))
    return lambda x: apply(weights, x)
