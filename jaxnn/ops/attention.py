"""Attention: each query reads a weighted mean of values, by how well it matches their keys."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnn.kernels.attention.one_query import one_query
from jaxnn.kernels.attention.primitives import attention as attention_of
from jaxnn.kernels.attention.primitives import check_implementation, dropped
from jaxnn.kernels.attention.problem import Settings
from jaxnn.ops import checks
from jaxnn.ops.sequences import lengths_within

#: A window: keys before and after a query's own position; None for all of them.
Window = int | tuple[int | None, int | None] | None


def attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    causal: bool = False,
    scale: float | None = None,
    lengths: ArrayLike | None = None,
    key_lengths: ArrayLike | None = None,
    window: Window = None,
    offset: ArrayLike | None = None,
    implementation: str | None = None,
) -> jax.Array:
    """Scaled dot-product attention: (N, T, H, D), (N, S, K, D), (N, S, K, D) → (N, T, H, D).

    score[h, t, s] = scale · q[t, h] · k[s, g] + bias[h, t, s],  y[t, h] = Σₛ softmax(score[h, t])ₛ · v[s, g],
    where g = ⌊h·K/H⌋: H/K neighbouring query heads share a head of keys and values (K = H: each has its own;
    K = 1: multi-query). The softmax is over those keys that the query reads, in float32 at least.

    A query reads key s if all of ``mask``, ``causal``, ``window`` and the lengths allow it. What it doesn't
    read has no influence on it, not even NaN or ∞, neither on values nor on derivatives. A query that reads
    no key gives zeros, and zero gradients. Scores beyond the range of float32 (values near 1e19) give NaN.

    On CPUs long sequences are computed in blocks, with memory linear in T and S, beside a bias or a mask and
    the gradient of a bias, which have its shape. Second derivatives hold all N · H · T · S scores.

    Args:
      q: queries, (N, T, H, D), floating-point.
      k: keys, (N, S, K, D), of the dtype of ``q``; K divides H.
      v: values, as ``k``.
      bias: added to the scores, (N or 1, H or 1, T or 1, S or 1), of the dtype of ``q`` or float32. It has a
        gradient. −∞ gives weight 0, but 0 · NaN is NaN: leave keys out by ``mask``.
      mask: booleans, True where a query reads a key: (N or 1, H or 1, T or 1, S or 1). PyTorch's reads
        likewise here, but the other way round in ``nn.MultiheadAttention``.
      causal: query t reads keys s ≤ t only, counted from the first of both, also where T ≠ S (the upper left
        corner, as in PyTorch and JAX). ``offset=S − T`` aligns the last query with the last key.
      scale: the factor of the scores; None for 1/√D.
      lengths: (N,) integers, how many queries of each example are real; outputs from there on are zeros. None
        for all. Values below 0 count as 0, and traced ones above T as T.
      key_lengths: (N,) integers, how many keys of each example are real. None for all.
      window: w or (left, right): query t reads keys t − left ≤ s ≤ t + right only; w stands for (w, w), None
        for no limit on that side.
      offset: an integer, or (N,) integers that may be traced: the position of the first query among the keys,
        from which ``causal`` and ``window`` count: query t stands at offset + t. None for 0.
      implementation: the form that computes it and its gradient, ``"plain"`` (all scores at once) or
        ``"blocked"``; None chooses by platform and size.

    Raises:
      ValueError: if a shape does not fit the others, or a window is negative.
      TypeError: if an array is not floating-point, the mask not boolean, or the dtypes differ.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> q, kv = jnp.ones((2, 5, 8, 16)), jnp.ones((2, 7, 2, 16))
    >>> nn.ops.attention(q, kv, kv, causal=True, key_lengths=jnp.array([7, 3])).shape
    (2, 5, 8, 16)

    Vaswani et al., "Attention is all you need", 2017; Ainslie et al., "GQA", 2023 (arXiv:2305.13245). The
    blocks: Dao et al., "FlashAttention", 2022 (arXiv:2205.14135).
    """
    operands, settings = _problem(
        q, k, v, bias, mask, causal, scale, lengths, key_lengths, window, offset, implementation
    )
    check_implementation("attention", implementation)
    return attention_of(operands, settings)


def dropped_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    rate: float,
    key: jax.Array,
    *,
    bias: jax.Array | None = None,
    causal: bool = False,
    lengths: jax.Array | None = None,
    key_lengths: jax.Array | None = None,
    window: Window = None,
    implementation: str | None = None,
) -> jax.Array:
    """``attention`` with dropout of its weights: all of them are held at once."""
    operands, settings = _problem(
        q, k, v, bias, None, causal, None, lengths, key_lengths, window, None, implementation
    )
    return dropped(operands, settings, rate, key)


def cached_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    offset: jax.Array,
    key_lengths: jax.Array,
    bias: jax.Array | None,
    window: Window,
    implementation: str | None,
    causal: bool = True,
) -> jax.Array:
    """``attention`` to a cache, (N, K, S, D), finite past ``key_lengths``, which may be ()."""
    if q.shape[1] == 1 and implementation is None and (causal or window is None):
        left, _ = reach("attention", window)
        return one_query(
            q,
            k,
            v,
            position=offset,
            key_lengths=key_lengths,
            bias=bias,
            left=left,
            scale=q.shape[3] ** -0.5,
        )
    operands, settings = _problem(
        q,
        jnp.swapaxes(k, 1, 2),
        jnp.swapaxes(v, 1, 2),
        bias,
        None,
        causal,
        None,
        None,
        jnp.broadcast_to(key_lengths, q.shape[:1]),
        window,
        offset,
        implementation,
    )
    return attention_of(operands, settings._replace(finite=True))


def _problem(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    bias: ArrayLike | None,
    mask: ArrayLike | None,
    causal: bool,
    scale: float | None,
    lengths: ArrayLike | None,
    key_lengths: ArrayLike | None,
    window: Window,
    offset: ArrayLike | None,
    implementation: str | None,
) -> tuple[tuple[jax.Array, ...], Settings]:
    """The operands and settings of the kernel; raises unless all fit together."""
    q, k, v = _queries_keys_values(q, k, v)
    checks.flags("attention", causal=causal)
    left, right = reach("attention", window)
    right = min(right, 0) if causal and right is not None else 0 if causal else right
    size = q.shape[3] ** -0.5 if scale is None else checks.number("attention", "scale", scale)
    full = (q.shape[0], q.shape[2], q.shape[1], k.shape[1])
    extras: dict[str, jax.Array] = {}
    if bias is not None:
        extras["bias"] = _bias(bias, q, full)
    if mask is not None:
        extras["mask"] = _mask(mask, full)
    if lengths is not None:
        extras["lengths"] = lengths_within("attention", lengths, q)
    if key_lengths is not None:
        extras["key_lengths"] = lengths_within("attention", key_lengths, k, "key_lengths")
    start = None if offset is None else _offset(offset, q)
    if start is not None and (left is not None or right is not None):
        extras["offset"] = start
    settings = Settings(size, left, right, tuple(extras), implementation)
    return (q, k, v, *extras.values()), settings


def _queries_keys_values(q: ArrayLike, k: ArrayLike, v: ArrayLike) -> tuple[jax.Array, jax.Array, jax.Array]:
    q, k, v = (checks.floating("attention", a, name) for a, name in ((q, "q"), (k, "k"), (v, "v")))
    for name, array, axes in (("q", q, "(N, T, H, D)"), ("k", k, "(N, S, K, D)"), ("v", v, "(N, S, K, D)")):
        if array.ndim != 4:
            raise ValueError(f"attention: {name} must be {axes}, got shape {array.shape}")
        if array.dtype != q.dtype:
            raise TypeError(f"attention: {name} must have the dtype of q, {q.dtype}, got {array.dtype}")
        if 0 in array.shape[2:]:
            raise ValueError(f"attention: {name} must have heads and features, got shape {array.shape}")
    if k.shape != v.shape:
        raise ValueError(f"attention: v must have the shape of k, {k.shape}, got shape {v.shape}")
    if (q.shape[0], q.shape[3]) != (k.shape[0], k.shape[3]):
        raise ValueError(
            f"attention: k must have the batch and the features of q, {q.shape}, got shape {k.shape}"
        )
    if q.shape[2] % k.shape[2]:
        raise ValueError(f"attention: the heads of k must divide those of q, {q.shape[2]}, got {k.shape[2]}")
    return q, k, v


def reach(owner: str, window: Any) -> tuple[int | None, int | None]:
    """How many keys before and after its own position a query reads; None for all."""
    if window is None:
        return None, None
    rule = "an integer at least 0, or a pair (left, right) of such or None"
    pair = window if isinstance(window, tuple) else (window, window)
    sides = [None if side is None else checks.whole(side) for side in pair]
    if len(pair) != 2 or any(
        side is not None and found is None for side, found in zip(pair, sides, strict=True)
    ):
        raise checks.wrong_kind(owner, "window", rule, window)
    if any(side is not None and side < 0 for side in sides):
        raise ValueError(checks.refusal(owner, "window", rule, window))
    return sides[0], sides[1]


def _bias(bias: ArrayLike, q: jax.Array, full: tuple[int, ...]) -> jax.Array:
    array = checks.floating("attention", bias, "bias")
    if array.dtype not in (q.dtype, jnp.float32):
        raise TypeError(f"attention: bias must be {q.dtype} or float32, got {array.dtype}")
    return _for_scores("bias", array, full)


def _mask(mask: ArrayLike, full: tuple[int, ...]) -> jax.Array:
    array = checks.array("attention", mask, "mask")
    if array.dtype != jnp.bool_:
        raise TypeError(
            "attention: mask must be boolean, True where a query reads a key, got "
            f"{array.dtype}; numbers to be added to the scores are a bias"
        )
    return _for_scores("mask", array, full)


def _for_scores(name: str, array: jax.Array, full: tuple[int, ...]) -> jax.Array:
    if array.ndim != 4 or any(size not in (1, whole) for size, whole in zip(array.shape, full, strict=True)):
        raise ValueError(
            f"attention: {name} must be (N, H, T, S) = {full}, each axis of that size or 1, got shape "
            f"{array.shape}"
        )
    return array


def _offset(offset: Any, q: jax.Array) -> jax.Array:
    array = checks.array("attention", offset, "offset")
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"attention: offset must be integers, got {array.dtype}")
    if array.shape not in ((), q.shape[:1]):
        raise ValueError(
            f"attention: offset must be one integer or (N,) = {q.shape[:1]}, got shape {array.shape}"
        )
    return jnp.broadcast_to(array.astype(jnp.int32), q.shape[:1])
