"""jaxnn: each layer as a user writes it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import jaxnn as nn
from benchmarks import specs
from benchmarks.contenders.model import Model


def build(spec: specs.Spec, shape: specs.Shape, dtype: Any) -> Model:
    """The net as a ``Layer``, its parts named by their place."""
    net = nn.as_layer(layer(spec))
    integers = isinstance(spec, specs.Embedding) or (
        isinstance(spec, specs.Serial) and isinstance(spec.parts[0], specs.Embedding)
    )
    x = jax.ShapeDtypeStruct(shape, jnp.int32 if integers else dtype)
    state = jax.eval_shape(net.init, jax.random.key(0), x).state
    state = jax.tree.map_with_path(_fresh, state)

    def apply(weights: Any, state: Any, x: Any, key: Any) -> tuple[Any, Any]:
        return net.train(nn.Params(weights, state), x, key)

    return Model(apply, pack=lambda weights: pack(spec, weights), state=state)


def _fresh(path: Any, leaf: Any) -> Any:
    return jnp.full(leaf.shape, path[-1].key == "var", leaf.dtype)


def layer(spec: specs.Spec) -> Any:
    """The layer, or the plain function, that ``spec`` describes."""
    match spec:
        case specs.Dense():
            before = [nn.flatten] if spec.flatten else []
            after = [nn.reshape(*spec.to)] if spec.to else []
            dense = nn.dense(spec.features)
            return nn.serial(*before, dense, *after) if before or after else dense
        case specs.Conv():
            return nn.conv(
                spec.features, spec.window, strides=spec.strides, padding=spec.padding,
                dilation=spec.dilation, groups=spec.groups, bias=False,
            )  # fmt: skip
        case specs.ConvTranspose():
            return nn.conv_transpose(
                spec.features, spec.window, strides=spec.strides, padding=spec.padding,
                output_padding=spec.output_padding, groups=spec.groups, bias=False,
            )  # fmt: skip
        case specs.Pool():
            make = nn.max_pool if spec.kind == "max" else nn.avg_pool
            return make(spec.window, strides=spec.strides, padding=spec.padding, dilation=spec.dilation)
        case specs.GlobalAvgPool():
            return nn.global_avg_pool
        case specs.Norm(kind="group"):
            return nn.group_norm(spec.groups)
        case specs.Norm():
            return {"batch": nn.batch_norm, "layer": nn.layer_norm, "rms": nn.rms_norm}[spec.kind]()
        case specs.Resize():
            return nn.upsample(spec.scale, method=spec.method)
        case specs.PixelShuffle():
            return nn.pixel_shuffle(spec.scale)
        case specs.Function():
            return getattr(nn, spec.name)
        case specs.Prelu():
            return nn.prelu()
        case specs.Maxout():
            return nn.stateless("maxout", lambda key, x: {}, lambda w, x: nn.ops.maxout(x, spec.pieces))
        case specs.Dropout():
            return nn.dropout(spec.rate)
        case specs.Embedding():
            return nn.embedding(spec.vocabulary, spec.features)
        case specs.Recurrent():
            return {"lstm": nn.lstm, "gru": nn.gru, "rnn": nn.rnn}[spec.kind](spec.features)
        case specs.Attention():
            return nn.stateless("attention", lambda key, x: {}, lambda w, x: _attention(spec, x))
        case specs.Serial(parts):
            return nn.serial(**{f"part_{i}": layer(part) for i, part in enumerate(parts)})
        case specs.Sum(parts):
            return nn.parallel(merge="sum", **{f"part_{i}": layer(part) for i, part in enumerate(parts)})
        case specs.Skip(body):
            return nn.parallel(x=nn.linear, body=layer(body), merge="concat")
    raise TypeError(f"no layer for {spec}")


def _attention(spec: specs.Attention, x: Any) -> Any:
    return spec.joined(nn.ops.attention(*spec.parts(jnp.split(x, 3, -1)), causal=spec.causal))


def pack(spec: specs.Spec, weights: Any) -> Any:
    """Weights by place as the nested dict of ``layer(spec)``."""
    match spec:
        case specs.Dense():
            before = {"flatten_0": {}} if spec.flatten else {}
            after = {"reshape_0": {}} if spec.to else {}
            return {**before, "dense_0": weights, **after} if before or after else weights
        case specs.Serial(parts) | specs.Sum(parts):
            return {
                f"part_{i}": pack(part, w)
                for i, (part, w) in enumerate(zip(parts, weights, strict=True))
            }  # fmt: skip
        case specs.Skip(body):
            return {"x": {}, "body": pack(body, weights[0])}
        case specs.Embedding():
            return {"embedding": weights["table"]}
        case specs.Recurrent(kind="gru"):
            return {**weights, "recurrent_bias": jnp.zeros_like(weights["bias"][: spec.features])}
    return weights


def prepare(spec: specs.Spec, shape: specs.Shape) -> Callable[[Any], Any]:
    """A fresh net, and its inference as its documentation shows it."""
    net = nn.as_layer(layer(spec))
    params = net.init(jax.random.key(0), shape)
    apply = jax.jit(net.apply)
    return lambda x: apply(params, x)
