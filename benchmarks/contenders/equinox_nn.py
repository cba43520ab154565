"""Equinox: modules that see one example, under ``vmap``; images have their channels first."""

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from benchmarks import specs
from benchmarks.contenders.model import Model, Unsupported, dense_kernel, first, stamping_kernel

AXIS = "batch"


def build(spec: specs.Spec, shape: specs.Shape, dtype: Any) -> Model:
    """The net in Equinox: a tree of modules, split into its arrays and the rest."""
    net, start = eqx.nn.make_with_state(partial(modules, dtype=dtype))(spec, shape)
    _, static = eqx.partition(net, eqx.is_inexact_array)

    def apply(weights: Any, state: Any, x: Any, key: Any) -> tuple[Any, Any]:
        net = eqx.combine(weights, static)
        keys = jax.random.split(key, x.shape[0])
        return jax.vmap(partial(call, spec, net), axis_name=AXIS, in_axes=(0, None, 0), out_axes=(0, None))(
            x, state, keys
        )

    def pack(weights: Any) -> Any:
        return eqx.filter(filled(spec, net, weights, shape), eqx.is_inexact_array)

    return Model(apply, pack, start, channels_first=True)


def modules(spec: specs.Spec, shape: specs.Shape, dtype: Any) -> Any:
    """A module for each leaf that has one, a list for each composite."""
    parts = specs.children(spec, shape)
    if parts is not None:
        return [modules(part, at, dtype) for part, at in parts]
    channels = shape[-1] if len(shape) > 1 else 0
    kinds = {"dtype": dtype, "key": jax.random.key(0)}
    match spec:
        case specs.Dense():
            return eqx.nn.Linear(spec.rows(shape)[-1], spec.features, **kinds)
        case specs.Conv():
            return eqx.nn.Conv2d(
                channels, spec.features, spec.window, spec.strides, spec.padding, spec.dilation,
                spec.groups, use_bias=False, **kinds,
            )  # fmt: skip
        case specs.ConvTranspose():
            return eqx.nn.ConvTranspose2d(
                channels, spec.features, spec.window, spec.strides, padding=spec.padding,
                output_padding=spec.output_padding, groups=spec.groups, use_bias=False, **kinds,
            )  # fmt: skip
        case specs.Pool(kind="max"):
            return eqx.nn.MaxPool2d(spec.window, spec.strides, spec.padding)
        case specs.Pool() if not spec.padding:
            return eqx.nn.AvgPool2d(spec.window, spec.strides)
        case specs.Pool():
            raise Unsupported("padding counts as values in AvgPool2d")
        case specs.Norm(kind="batch"):
            return eqx.nn.BatchNorm(channels, AXIS, momentum=0.9, mode="batch", dtype=dtype)
        case specs.Norm(kind="layer"):
            return eqx.nn.LayerNorm(channels, dtype=dtype)
        case specs.Norm(kind="rms"):
            return eqx.nn.RMSNorm(channels, use_bias=False, dtype=dtype)
        case specs.Norm():
            return eqx.nn.GroupNorm(spec.groups, channels, dtype=dtype)
        case specs.Dropout():
            return eqx.nn.Dropout(spec.rate)
        case specs.Prelu():
            return eqx.nn.PReLU(jnp.zeros((channels, *(1,) * (len(shape) - 2)), dtype))
        case specs.Embedding():
            return eqx.nn.Embedding(spec.vocabulary, spec.features, **kinds)
        case specs.Recurrent(kind="lstm"):
            return eqx.nn.LSTMCell(channels, spec.features, **kinds)
        case specs.Recurrent(kind="gru"):
            return eqx.nn.GRUCell(channels, spec.features, **kinds)
        case specs.Function() | specs.GlobalAvgPool():
            return None
    raise Unsupported(f"no {type(spec).__name__}")


def call(spec: specs.Spec, net: Any, x: Any, state: Any, key: Any) -> tuple[Any, Any]:
    """One example through the net: (C, H, W), (T, F) or (F,)."""
    match spec:
        case specs.Serial(parts):
            for i, (part, module) in enumerate(zip(parts, net, strict=True)):
                x, state = call(part, module, x, state, jax.random.fold_in(key, i))
            return x, state
        case specs.Sum(parts):
            total = 0
            for part, module in zip(parts, net, strict=True):
                y, state = call(part, module, x, state, key)
                total += y
            return total, state
        case specs.Skip(body):
            y, state = call(body, net[0], x, state, key)
            return jnp.concatenate([x, y]), state
        case specs.Norm(kind="batch"):
            return net(x, state)
        case specs.Dropout():
            return net(x, key=key), state
    return leaf(spec, net, x), state


def leaf(spec: specs.Spec, net: Any, x: Any) -> Any:
    match spec:
        case specs.Dense():
            x = x.ravel() if spec.flatten else x
            y = net(x) if x.ndim == 1 else jax.vmap(net)(x)
            return y.reshape(spec.to[-1], *spec.to[:-1]) if spec.to else y
        case specs.GlobalAvgPool():
            return jnp.mean(x, (1, 2))
        case specs.Function():
            return getattr(jax.nn, spec.name)(x)
        case specs.Norm(kind="layer" | "rms"):
            return jax.vmap(net)(x)
        case specs.Embedding():
            return net(x) if x.ndim == 0 else jax.vmap(net)(x)
        case specs.Recurrent():
            zeros = jnp.zeros(spec.features, x.dtype)
            start = (zeros, zeros) if spec.kind == "lstm" else zeros

            def step(carry: Any, x: Any) -> Any:
                carry = net(x, carry)
                return carry, carry[0] if spec.kind == "lstm" else carry

            return jax.lax.scan(step, start, x)[1]
    return net(x)


def filled(spec: specs.Spec, net: Any, weights: Any, shape: specs.Shape) -> Any:
    """The tree of modules with our weights in it."""
    parts = specs.children(spec, shape)
    if parts is not None:
        return [filled(part, m, w, at) for (part, at), m, w in zip(parts, net, weights, strict=True)]
    values: dict[str, Any] = {}
    match spec:
        case specs.Dense():
            kernel, bias = dense_kernel(spec, weights["kernel"], weights["bias"], shape)
            values = {"weight": kernel, "bias": bias}
        case specs.Conv():
            values = {"weight": first(weights["kernel"])}
        case specs.ConvTranspose():
            values = {"weight": first(stamping_kernel(weights["kernel"], spec.groups))}
        case specs.Norm():
            values = {"weight": weights["scale"]} | ({"bias": weights["bias"]} if "bias" in weights else {})
        case specs.Prelu():
            values = {"negative_slope": weights["slope"].reshape(net.negative_slope.shape)}
        case specs.Embedding():
            values = {"weight": weights["table"]}
        case specs.Recurrent():
            values = {
                "weight_ih": weights["input_kernel"].T,
                "weight_hh": weights["recurrent_kernel"].T,
                "bias": weights["bias"],
            }
            if spec.kind == "gru":
                values["bias_n"] = jnp.zeros_like(net.bias_n)
    for name, value in values.items():
        net = eqx.tree_at(lambda module: getattr(module, name), net, value)  # noqa: B023
    return net


def prepare(spec: specs.Spec, shape: specs.Shape) -> Callable[[Any], Any]:
    """A fresh net, and a call of it under ``filter_jit``."""
    net, state = eqx.nn.make_with_state(partial(modules, dtype=jnp.float32))(spec, shape)
    key = jax.random.key(0)
    apply = eqx.filter_jit(lambda net, x: jax.vmap(lambda x: call(spec, net, x, state, key)[0])(x))
    return lambda x: apply(net, x)
