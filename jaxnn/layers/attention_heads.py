"""The weights of an attention layer: from features to heads and back."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from jaxnn.entries import Entries
from jaxnn.layers.initialisers import ONES
from jaxnn.layers.weights import drawn
from jaxnn.ops import checks
from jaxnn.ops.dense import dense
from jaxnn.ops.norm import rms_norm
from jaxnn.params import Key, Weights, fold_name

#: The products, as their weights are called.
INPUTS = ("query", "key", "value")
PARTS = (*INPUTS, "output")


class Heads(NamedTuple):
    """How features are cut into heads, and by which weights.

    Attributes:
      owner: the layer's name.
      features: of the output.
      heads: of the queries.
      kv_heads: of keys and values.
      size: D, the features of a head.
      bias: whether there are biases.
      qk_norm: whether queries and keys are normalised.
    """

    owner: str
    features: int
    heads: int
    kv_heads: int
    size: int
    bias: bool
    qk_norm: bool

    @property
    def columns(self) -> dict[str, int]:
        """How many columns the kernel of each product has."""
        own, shared = self.heads * self.size, self.kv_heads * self.size
        return dict(zip(PARTS, (own, shared, shared, self.features), strict=True))

    def entries(self) -> Entries:
        found: dict[str, Any] = {f"{part}_kernel": ("F", n) for part, n in self.columns.items()}
        found["output_kernel"] = (self.heads * self.size, self.features)
        if self.bias:
            found |= {f"{part}_bias": (n,) for part, n in self.columns.items()}
        if self.qk_norm:
            found |= {f"{part}_scale": (self.size,) for part in ("query", "key")}
        return found

    def init(
        self, key: Key, x: Any, source: Any, kernel: Initializer, output: Initializer, bias: Initializer
    ) -> Weights:
        """Fresh weights for queries from ``x``, and for keys and values from ``source``."""
        rows = x.shape[-1], source.shape[-1], source.shape[-1], self.heads * self.size
        weights = {}
        for (part, columns), own_rows in zip(self.columns.items(), rows, strict=True):
            setting, init = ("output_init", output) if part == "output" else ("kernel_init", kernel)
            own, shape = f"{part}_kernel", (own_rows, columns)
            weights[own] = drawn(self.owner, setting, init, fold_name(key, own), shape, x.dtype)
            if self.bias:
                own = f"{part}_bias"
                weights[own] = drawn(self.owner, "bias_init", bias, fold_name(key, own), (columns,), x.dtype)
        if self.qk_norm:
            weights |= {f"{part}_scale": ONES(key, (self.size,), x.dtype) for part in ("query", "key")}
        return weights

    def together(self, weights: Weights) -> Weights:
        """The same weights with the kernels of queries, keys and values side by side: one product makes all.

        For a sequence in pieces, where they are put together once. Those of a memory stay apart.
        """
        if len({jnp.shape(weights[f"{part}_kernel"])[0] for part in INPUTS}) > 1:
            return weights
        ends = ("kernel", "bias") if self.bias else ("kernel",)
        joined = {f"input_{end}": [weights[f"{part}_{end}"] for part in INPUTS] for end in ends}
        return weights | {name: jnp.concatenate(arrays, axis=-1) for name, arrays in joined.items()}

    def inputs(
        self, weights: Weights, x: jax.Array, source: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Queries (N, T, heads, D) from ``x``, keys and values (N, S, kv_heads, D) from ``source``."""
        if x is not source or "input_kernel" not in weights:
            arrays = x, source, source
            q, k, v = (self.input(weights, *each) for each in zip(INPUTS, arrays, strict=True))
            return q, k, v
        ends = (self.columns["query"], self.columns["query"] + self.columns["key"])
        products = jnp.split(self._product(weights, "input", x), ends, axis=-1)
        q, k, v = (self._split(weights, *each) for each in zip(INPUTS, products, strict=True))
        return q, k, v

    def input(self, weights: Weights, part: str, x: jax.Array) -> jax.Array:
        """Queries, keys or values alone."""
        return self._split(weights, part, self._product(weights, part, x))

    def _split(self, weights: Weights, part: str, y: jax.Array) -> jax.Array:
        y = y.reshape(*y.shape[:2], y.shape[2] // self.size, self.size)
        return rms_norm(y, weights[f"{part}_scale"]) if self.qk_norm and part != "value" else y

    def join(self, weights: Weights, y: jax.Array) -> jax.Array:
        """What all heads read: (N, T, heads, D) → (N, T, features)."""
        return self._product(weights, "output", y.reshape(*y.shape[:2], self.heads * self.size))

    def _product(self, weights: Weights, part: str, x: jax.Array) -> jax.Array:
        kernel = weights[f"{part}_kernel"]
        if x.shape[-1] != jnp.shape(kernel)[0]:
            raise ValueError(
                f"{self.owner}: params of another net: {part}_kernel must have one row per feature of "
                f"an input of shape {x.shape}, got shape {jnp.shape(kernel)}"
            )
        return dense(x, kernel, weights[f"{part}_bias"] if self.bias else None)


def checked_heads(
    owner: str, features: Any, heads: Any, kv_heads: Any, head_features: Any, bias: Any, qk_norm: Any
) -> Heads:
    """The settings as ``Heads``; raises unless they fit together."""
    features = checks.integer(owner, "features", features, least=1)
    heads = checks.integer(owner, "heads", heads, least=1)
    kv_heads = heads if kv_heads is None else checks.integer(owner, "kv_heads", kv_heads, least=1)
    if heads % kv_heads:
        raise ValueError(f"{owner}: kv_heads must divide heads, got {kv_heads} and {heads}")
    if head_features is None and features % heads:
        raise ValueError(
            f"{owner}: heads must divide features, or head_features be given, got {heads} and {features}"
        )
    size = features // heads if head_features is None else head_features
    size = checks.integer(owner, "head_features", size, least=1)
    checks.flags(owner, bias=bias, qk_norm=qk_norm)
    return Heads(owner, features, heads, kv_heads, size, bias, qk_norm)
