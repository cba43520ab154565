"""Flax NNX: modules built once, then split; each call merges them, as its guide to performance advises."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks import specs
from benchmarks.contenders.model import Model, Unsupported

Path = tuple[str | int, ...]


class Part(nnx.Module):
    """A leaf: the module that does the work, or a plain function."""

    def __init__(self, module: Any, call: Any = None):
        self.module = module
        self.call = call or (lambda module, x, key: module(x))

    def __call__(self, x: Any, key: Any) -> Any:
        return self.call(self.module, x, key)


class Chain(nnx.Module):
    """Parts in a row."""

    def __init__(self, parts: list[Any]):
        self.parts = nnx.List(parts)

    def __call__(self, x: Any, key: Any) -> Any:
        for i, part in enumerate(self.parts):
            x = part(x, jax.random.fold_in(key, i))
        return x


class Sum(nnx.Module):
    """All parts of the same x."""

    def __init__(self, parts: list[Any]):
        self.parts = nnx.List(parts)

    def __call__(self, x: Any, key: Any) -> Any:
        return sum(part(x, key) for part in self.parts)


class Concat(nnx.Module):
    """The channels of x, then those of body(x)."""

    def __init__(self, body: Any):
        self.body = body

    def __call__(self, x: Any, key: Any) -> Any:
        return jnp.concatenate([x, self.body(x, key)], -1)


def build(spec: specs.Spec, shape: specs.Shape, dtype: Any, **conv: Any) -> Model:
    """The net in Flax; ``conv`` goes to every ``nnx.Conv``."""
    make = Maker(dtype, conv)
    graph, params, rest = nnx.split(make.module(spec, shape), nnx.Param, ...)

    def apply(weights: Any, state: Any, x: Any, key: Any) -> tuple[Any, Any]:
        net = nnx.merge(graph, weights, state, copy=True)  # else BatchNorm writes into what was traced over
        y = net(x, key)
        return y, nnx.state(net, nnx.Not(nnx.Param))

    paths = [path for path, _ in nnx.to_flat_state(params)]

    def pack(weights: Any) -> Any:
        ours = dict(named(spec, weights))
        return jax.tree.unflatten(jax.tree.structure(params), [ours[path] for path in paths])

    return Model(apply, pack, rest)


class Maker:
    """Builds modules of one dtype."""

    def __init__(self, dtype: Any, conv: dict[str, Any]):
        self.rngs = nnx.Rngs(0)
        self.kinds = {"dtype": dtype, "param_dtype": dtype, "rngs": self.rngs}
        self.conv = conv

    def module(self, spec: specs.Spec, shape: specs.Shape) -> Any:
        """The module for an input of this shape."""
        parts = specs.children(spec, shape)
        if parts is None:
            return self.leaf(spec, shape)
        made = [self.module(part, at) for part, at in parts]
        match spec:
            case specs.Sum():
                return Sum(made)
            case specs.Skip():
                return Concat(*made)
        return Chain(made)

    def leaf(self, spec: specs.Spec, shape: specs.Shape) -> Part:
        kinds, channels = self.kinds, shape[-1] if len(shape) > 1 else 0
        match spec:
            case specs.Dense():
                dense = nnx.Linear(spec.rows(shape)[-1], spec.features, **kinds)
                return Part(dense, partial(_dense, spec))
            case specs.Conv():
                return Part(
                    nnx.Conv(
                        channels, spec.features, (spec.window,) * 2, spec.strides, use_bias=False,
                        padding=[(spec.padding,) * 2] * 2, kernel_dilation=spec.dilation,
                        feature_group_count=spec.groups, **kinds, **self.conv,
                    )
                )  # fmt: skip
            case specs.ConvTranspose():
                if spec.groups > 1:
                    raise Unsupported("no groups in ConvTranspose")
                low = spec.window - 1 - spec.padding
                return Part(
                    nnx.ConvTranspose(
                        channels, spec.features, (spec.window,) * 2, spec.strides, use_bias=False,
                        padding=[(low, low + spec.output_padding)] * 2, **kinds,
                    )
                )  # fmt: skip
            case specs.Pool():
                return Part(None, partial(_pool, spec))
            case specs.GlobalAvgPool():
                return Part(None, lambda _, x, key: jnp.mean(x, (1, 2)))
            case specs.Norm():
                return Part(self.norm(spec, channels))
            case specs.Function():
                return Part(None, lambda _, x, key: getattr(nnx, spec.name)(x))
            case specs.Dropout():
                return Part(nnx.Dropout(spec.rate), lambda module, x, key: module(x, rngs=key))
            case specs.Embedding():
                return Part(nnx.Embed(spec.vocabulary, spec.features, **kinds))
            case specs.Recurrent():
                cells = {"lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell, "rnn": nnx.SimpleCell}
                # The default initialiser has no bfloat16.
                init = nnx.initializers.zeros_init()
                cell = cells[spec.kind](channels, spec.features, recurrent_kernel_init=init, **kinds)
                return Part(nnx.RNN(cell))
            case specs.Attention():
                return Part(None, partial(_attention, spec))
        raise Unsupported(f"no {type(spec).__name__}")

    def norm(self, spec: specs.Norm, channels: int) -> Any:
        kinds = {**self.kinds, "epsilon": 1e-5}
        match spec.kind:
            case "batch":
                return nnx.BatchNorm(channels, use_running_average=False, momentum=0.9, **kinds)
            case "layer":
                return nnx.LayerNorm(channels, **kinds)
            case "rms":
                return nnx.RMSNorm(channels, **kinds)
        return nnx.GroupNorm(channels, num_groups=spec.groups, **kinds)


def _pool(spec: specs.Pool, _: Any, x: Any, key: Any) -> Any:
    window, strides, pad = (spec.window,) * 2, (spec.strides,) * 2, [(spec.padding,) * 2] * 2
    if spec.kind == "max":
        return nnx.max_pool(x, window, strides, pad)
    # Padding must be left out of the count; then Flax returns float32 for bfloat16.
    return nnx.avg_pool(x, window, strides, pad, count_include_pad=not spec.padding).astype(x.dtype)


def _attention(spec: specs.Attention, _: Any, x: Any, key: Any) -> Any:
    mask = nnx.make_causal_mask(x[:, :, 0], dtype=bool) if spec.causal else None
    return spec.joined(nnx.dot_product_attention(*spec.parts(jnp.split(x, 3, -1)), mask=mask))


def _dense(spec: specs.Dense, module: Any, x: Any, key: Any) -> Any:
    y = module(x.reshape(spec.rows(x.shape)))
    return y.reshape(-1, *spec.to) if spec.to else y


def named(spec: specs.Spec, weights: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Each of our weights, with the path of its parameter."""
    match spec:
        case specs.Serial(parts) | specs.Sum(parts):
            for i, (part, w) in enumerate(zip(parts, weights, strict=True)):
                yield from named(part, w, (*path, "parts", i))
        case specs.Skip(body):
            yield from named(body, weights[0], (*path, "body"))
        case specs.ConvTranspose():
            yield (*path, "module", "kernel"), jnp.flip(weights["kernel"], (0, 1))
        case specs.Embedding():
            yield (*path, "module", "embedding"), weights["table"]
        case specs.Recurrent():
            cell = (*path, "module", "cell")
            yield (*cell, "dense_i", "kernel"), weights["input_kernel"]
            yield (*cell, "dense_h", "kernel"), weights["recurrent_kernel"]
            yield (*cell, "dense_h" if spec.kind == "lstm" else "dense_i", "bias"), weights["bias"]
        case _:
            for name, value in weights.items():
                yield (*path, "module", name), value


def prepare(spec: specs.Spec, shape: specs.Shape) -> Callable[[Any], Any]:
    """A fresh net, and a call of it as the documentation's first page shows it."""
    net = Maker(jnp.float32, {}).module(spec, shape)
    key = jax.random.key(0)
    apply = nnx.jit(lambda net, x: net(x, key))
    return lambda x: apply(net, x)
