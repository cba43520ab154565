"""Haiku: a transformed function that makes its modules by name."""

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from benchmarks import specs
from benchmarks.contenders.model import Model, Unsupported


def build(spec: specs.Spec, shape: specs.Shape, dtype: Any) -> Model:
    """The net in Haiku; each module is named after its place, ``at_0_2``."""
    check(spec, shape)
    net = hk.transform_with_state(lambda x: run(spec, x, "at"))
    integers = isinstance(_first(spec), specs.Embedding)
    x = jax.ShapeDtypeStruct(shape, jnp.int32 if integers else dtype)
    kinds, state = jax.eval_shape(net.init, jax.random.key(0), x)
    state = jax.tree.map(lambda kind: jnp.zeros(kind.shape, kind.dtype), state)

    def apply(weights: Any, state: Any, x: Any, key: Any) -> tuple[Any, Any]:
        return net.apply(weights, state, key, x)

    def pack(weights: Any) -> Any:
        ours = dict(packed(spec, weights, "at"))
        return jax.tree.map(lambda kind, w: w.reshape(kind.shape), kinds, ours)

    return Model(apply, pack, state)


def _first(spec: specs.Spec) -> specs.Spec:
    return _first(spec.parts[0]) if isinstance(spec, specs.Serial) and spec.parts else spec


def check(spec: specs.Spec, shape: specs.Shape) -> None:
    """Raises for what Haiku does not have, or means otherwise."""
    parts = specs.children(spec, shape)
    if parts is not None:
        for part, at in parts:
            check(part, at)
        return
    match spec:
        case specs.ConvTranspose() if spec.groups > 1:
            raise Unsupported("no groups in Conv2DTranspose")
        case specs.Pool() if spec.padding:
            raise Unsupported("no explicit padding in its pools")
        case specs.Recurrent(kind="gru"):
            raise Unsupported("its GRU resets before the product")
        case specs.Recurrent(kind="rnn"):
            raise Unsupported("its VanillaRNN has relu")
        case specs.Resize() | specs.PixelShuffle() | specs.Prelu() | specs.Maxout():
            raise Unsupported(f"no {type(spec).__name__}")


def run(spec: specs.Spec, x: Any, name: str) -> Any:
    """The net inside ``hk.transform``."""
    match spec:
        case specs.Serial(parts):
            for i, part in enumerate(parts):
                x = run(part, x, f"{name}_{i}")
            return x
        case specs.Sum(parts):
            return sum(run(part, x, f"{name}_{i}") for i, part in enumerate(parts))
        case specs.Skip(body):
            return jnp.concatenate([x, run(body, x, f"{name}_0")], -1)
        case specs.Dense():
            y = hk.Linear(spec.features, name=name)(x.reshape(spec.rows(x.shape)))
            return y.reshape(-1, *spec.to) if spec.to else y
        case specs.Conv():
            return hk.Conv2D(
                spec.features, spec.window, spec.strides, spec.dilation, [(spec.padding,) * 2] * 2,
                with_bias=False, feature_group_count=spec.groups, name=name,
            )(x)  # fmt: skip
        case specs.ConvTranspose():
            low = spec.window - 1 - spec.padding
            return hk.Conv2DTranspose(
                spec.features, spec.window, spec.strides, padding=[(low, low + spec.output_padding)] * 2,
                with_bias=False, name=name,
            )(x)  # fmt: skip
        case specs.Pool():
            function = hk.max_pool if spec.kind == "max" else hk.avg_pool
            return function(x, (spec.window, spec.window, 1), (spec.strides, spec.strides, 1), "VALID")
        case specs.GlobalAvgPool():
            return jnp.mean(x, (1, 2))
        case specs.Norm(kind="batch"):
            return hk.BatchNorm(True, True, 0.9, name=name)(x, is_training=True)
        case specs.Norm(kind="layer"):
            return hk.LayerNorm(-1, True, True, name=name)(x)
        case specs.Norm(kind="rms"):
            return hk.RMSNorm(-1, name=name)(x)
        case specs.Norm():
            return hk.GroupNorm(spec.groups, name=name)(x)
        case specs.Function():
            return getattr(jax.nn, spec.name)(x)
        case specs.Dropout():
            return hk.dropout(hk.next_rng_key(), spec.rate, x)
        case specs.Embedding():
            # Its other lookup style is a product with one-hot rows.
            return hk.Embed(spec.vocabulary, spec.features, name=name)(x)
        case specs.Recurrent():
            core = hk.LSTM(spec.features, name=name)
            start = jax.tree.map(lambda a: a.astype(x.dtype), core.initial_state(x.shape[0]))
            return hk.dynamic_unroll(core, x, start, time_major=False)[0]
    raise Unsupported(f"no {type(spec).__name__}")


def packed(spec: specs.Spec, weights: Any, name: str) -> Any:
    """Pairs of module name and parameters."""
    match spec:
        case specs.Serial(parts) | specs.Sum(parts):
            for i, (part, w) in enumerate(zip(parts, weights, strict=True)):
                yield from packed(part, w, f"{name}_{i}")
        case specs.Skip(body):
            yield from packed(body, weights[0], f"{name}_0")
        case specs.Dense():
            yield name, {"w": weights["kernel"], "b": weights["bias"]}
        case specs.Conv():
            yield name, {"w": weights["kernel"]}
        case specs.ConvTranspose():
            yield name, {"w": jnp.swapaxes(jnp.flip(weights["kernel"], (0, 1)), -1, -2)}
        case specs.Norm(kind="rms"):
            yield name, {"scale": weights["scale"]}
        case specs.Norm():
            yield name, {"scale": weights["scale"], "offset": weights["bias"]}
        case specs.Embedding():
            yield name, {"embeddings": weights["table"]}
        case specs.Recurrent():
            yield f"{name}/linear", _lstm(spec, weights)


def _lstm(spec: specs.Recurrent, weights: Any) -> Any:
    """One kernel for [x, h], gates i, g, f, o, and a forget gate to which 1 is added on the way."""

    def ordered(array: Any) -> Any:
        i, f, g, o = jnp.split(array, 4, -1)
        return jnp.concatenate([i, g, f, o], -1)

    h = spec.features
    bias = ordered(weights["bias"]).at[2 * h : 3 * h].add(-1)
    kernels = ordered(weights["input_kernel"]), ordered(weights["recurrent_kernel"])
    return {"w": jnp.concatenate(kernels), "b": bias}


def prepare(spec: specs.Spec, shape: specs.Shape) -> Callable[[Any], Any]:
    """A fresh net, and its compiled ``apply``."""
    net = hk.without_apply_rng(hk.transform_with_state(lambda x: run(spec, x, "at")))
    params, state = net.init(jax.random.key(0), jnp.zeros(shape))
    apply = jax.jit(lambda params, state, x: net.apply(params, state, x)[0])
    return lambda x: apply(params, state, x)
