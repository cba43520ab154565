"""A GPT of Flax NNX's modules that decodes from its cache, with the weights of ``nn.models.gpt``."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


class Block(nnx.Module):
    """Attention and two dense layers, their norms first."""

    def __init__(self, features: int, heads: int, rngs: nnx.Rngs):
        self.attention_norm = nnx.LayerNorm(features, epsilon=1e-5, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(heads, features, decode=True, rngs=rngs)
        self.mlp_norm = nnx.LayerNorm(features, epsilon=1e-5, rngs=rngs)
        self.up = nnx.Linear(features, 4 * features, rngs=rngs)
        self.down = nnx.Linear(4 * features, features, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attention(self.attention_norm(x))
        return x + self.down(nnx.gelu(self.up(self.mlp_norm(x))))


class GPT(nnx.Module):
    """Ids (N, 1) at a place → logits (N, vocabulary)."""

    def __init__(self, task: Any, rngs: nnx.Rngs):
        self.embedding = nnx.Embed(task.vocabulary, task.features, rngs=rngs)
        self.positions = nnx.Embed(task.prompt + task.steps, task.features, rngs=rngs)
        self.blocks = nnx.List([Block(task.features, task.heads, rngs) for _ in range(task.depth)])
        self.norm = nnx.LayerNorm(task.features, epsilon=1e-5, rngs=rngs)

    def __call__(self, ids: jax.Array, place: jax.Array) -> jax.Array:
        x = self.embedding(ids) + self.positions(place)
        for block in self.blocks:
            x = block(x)
        return self.embedding.attend(self.norm(x))[:, 0]


def decoder(task: Any, params: Any, ids: jax.Array) -> tuple[Any, Callable[[Any], Any]]:
    """What has been made of the prompt, and a step: ``step(carry) → (carry, ids (N,))``."""
    net = GPT(task, nnx.Rngs(0))
    _fill(net, params.weights, task)
    for block in net.blocks:
        block.attention.init_cache((task.batch, task.prompt + task.steps, task.features))
    graph, weights, cache = nnx.split(net, nnx.Param, ...)

    def fed(cache: Any, ids: jax.Array, place: jax.Array) -> tuple[jax.Array, Any]:
        merged = nnx.merge(graph, weights, cache)
        logits = merged(jnp.expand_dims(ids, 1), place)
        return logits, nnx.split(merged, nnx.Param, ...)[2]

    @jax.jit
    def prompted(cache: Any) -> Any:
        places = jnp.arange(task.prompt, dtype=jnp.int32)
        cache, logits = jax.lax.scan(lambda c, x: fed(c, *x)[::-1], cache, (ids.T, places))
        return logits[-1], cache, jnp.asarray(task.prompt, jnp.int32)

    def step(carry: Any) -> Any:
        logits, cache, place = carry
        drawn = jnp.argmax(logits, axis=-1).astype(ids.dtype)
        logits, cache = fed(cache, drawn, place)
        return (logits, cache, place + 1), drawn

    return prompted(cache), step


def _fill(net: Any, weights: Any, task: Any) -> None:
    """Copies the weights of ``nn.models.gpt`` into the modules."""
    heads = task.heads, task.features // task.heads
    net.embedding.embedding[...] = weights["embedding"]["embedding"]
    net.positions.embedding[...] = weights["positions"]["embedding"]
    _norm(net.norm, weights["norm"])
    for i, block in enumerate(net.blocks):
        own = jax.tree.map(lambda a, i=i: a[i], weights["blocks"])
        _norm(block.attention_norm, own["attention_norm"])
        _norm(block.mlp_norm, own["mlp_norm"])
        attention = own["attention"]
        for part in ("query", "key", "value"):
            module = getattr(block.attention, part)
            module.kernel[...] = attention[f"{part}_kernel"].reshape(-1, *heads)
            module.bias[...] = attention[f"{part}_bias"].reshape(heads)
        block.attention.out.kernel[...] = attention["output_kernel"].reshape(*heads, -1)
        block.attention.out.bias[...] = attention["output_bias"]
        for part in ("up", "down"):
            module = getattr(block, part)
            module.kernel[...], module.bias[...] = own["mlp"][part]["kernel"], own["mlp"][part]["bias"]


def _norm(module: Any, weights: Any) -> None:
    module.scale[...], module.bias[...] = weights["scale"], weights["bias"]
