"""Attention with typical settings, for the properties that every op must have."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.ops import attention
from tests.ops.case import Case
from tests.ops.cases_recurrent import some_lengths

N, T, H, D = 3, 5, 2, 3
X, W = (N, T, H, D), (D, D)


def projected(x: jax.Array, w: Any) -> jax.Array:
    return jnp.einsum("nthd,de->nthe", x, w)


def plain(x: jax.Array, q: Any, k: Any, v: Any) -> jax.Array:
    return attention(*(projected(x, w) for w in (q, k, v)))


def causal(x: jax.Array, q: Any, k: Any, v: Any) -> jax.Array:
    """Two query heads for one head of keys."""
    keys, values = (projected(x[:, :, :1], w) for w in (k, v))
    return attention(projected(x, q), keys, values, causal=True, implementation="blocked")


def biased(x: jax.Array, q: Any, k: Any, v: Any, bias: Any) -> jax.Array:
    lengths = 1 + some_lengths(x[:, :, 0]) % x.shape[1]
    q, k, v = (projected(x, w) for w in (q, k, v))
    bias = jnp.expand_dims(bias, 0)
    return attention(q, k, v, bias=bias, lengths=lengths, key_lengths=lengths, window=(2, 1), scale=0.7)


CASES = [
    Case("attention", plain, (X, W, W, W), large=((2, 300, 4, 16), *((16, 16),) * 3)),
    Case("attention-causal", causal, (X, W, W, W), large=((2, 300, 4, 16), *((16, 16),) * 3)),
    Case("attention-bias-window-lengths", biased, (X, W, W, W, (H, T, T))),
]
