"""Attention in float64: one example, one head, one query at a time, over the keys that it reads."""

from typing import Any

import numpy as np

Array = np.ndarray


def reads(
    t: int,
    s: int,
    *,
    causal: bool = False,
    window: tuple[int | None, int | None] | None = None,
    offset: int = 0,
) -> bool:
    """Whether query t may read key s."""
    left, right = window or (None, None)
    position = offset + t
    return (
        (not causal or s <= position)
        and (left is None or s >= position - left)
        and (right is None or s <= position + right)
    )


def attention(
    q: Array,
    k: Array,
    v: Array,
    *,
    bias: Array | None = None,
    mask: Array | None = None,
    scale: float | None = None,
    lengths: Any = None,
    key_lengths: Any = None,
    offset: Any = None,
    **settings: Any,
) -> Array:
    """(N, T, H, D), (N, S, K, D), (N, S, K, D) → (N, T, H, D)."""
    (batch, queries, heads, features), keys = q.shape, k.shape[1]
    scale = features**-0.5 if scale is None else scale
    group = heads // k.shape[2]
    full = (batch, heads, queries, keys)
    bias = np.zeros(full) if bias is None else np.broadcast_to(bias, full)
    mask = np.ones(full, bool) if mask is None else np.broadcast_to(mask, full)
    y = np.zeros(q.shape)
    for n, t, h in np.ndindex(batch, queries, heads):
        if lengths is not None and t >= lengths[n]:
            continue
        limit = keys if key_lengths is None else min(key_lengths[n], keys)
        start = 0 if offset is None else int(np.broadcast_to(offset, batch)[n])
        places = [s for s in range(limit) if mask[n, h, t, s] and reads(t, s, offset=start, **settings)]
        scores = np.array([scale * q[n, t, h] @ k[n, s, h // group] + bias[n, h, t, s] for s in places])
        if not places or scores.max() == -np.inf:
            continue
        weights = np.exp(scores - scores.max())
        y[n, t, h] = (
            sum(w * v[n, s, h // group] for w, s in zip(weights, places, strict=True)) / weights.sum()
        )
    return y
