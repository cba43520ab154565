"""Positions in a sequence: rotary, sinusoidal, and ALiBi's bias."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jaxnn.kernels.dtypes import widened
from jaxnn.ops import checks

Layout = Literal["halves", "pairs"]


def rotary(
    x: ArrayLike,
    positions: ArrayLike | None = None,
    *,
    base: float = 10_000.0,
    fraction: float = 1.0,
    layout: Layout = "halves",
) -> jax.Array:
    """Rotates pairs of features by angles that grow with the position: (N, T, H, D) → the same.

    Pair i of R/2, with R = fraction · D, is rotated by the angle θ = position · base^(−2i/R):
    (a, b) → (a·cos θ − b·sin θ, a·sin θ + b·cos θ). The product of a rotated query and a rotated key then
    depends on the distance of their positions alone. The other D − R features stay as they are.

    Args:
      x: queries or keys, (N, T, H, D), floating-point.
      positions: (T,) or (N, T) integers; None for 0 … T − 1. In a sequence fed in pieces they go on.
      base: the larger, the slower the slowest pair rotates.
      fraction: the share of the features that is rotated, in (0, 1]; R must be even.
      layout: which features are a pair: ``"halves"``, i and i + R/2 (Llama, GPT-NeoX), or ``"pairs"``, 2i and
        2i + 1 (the paper, GPT-J). ``rotary_layout`` converts a kernel from one to the other.

    Returns:
      The dtype of ``x``; angles and products are in float32 at least.

    Raises:
      ValueError: if R is not even, or a shape does not fit.
      TypeError: if ``x`` is not floating-point or the positions are not integers.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> nn.ops.rotary(jnp.ones((2, 5, 4, 8)), jnp.arange(10, 15)).shape
    (2, 5, 4, 8)

    Su et al., "RoFormer: enhanced transformer with rotary position embedding", 2021 (arXiv:2104.09864).
    """
    array = checks.floating("rotary", x)
    if array.ndim != 4:
        raise ValueError(f"rotary: x must be (N, T, H, D), got shape {array.shape}")
    base = checks.number("rotary", "base", base, above=0)
    checks.choice("rotary", "layout", layout, ("halves", "pairs"))
    size = _rotated("rotary", array.shape[3], fraction)
    place = _positions("rotary", positions, array)
    rotated, rest = array[..., :size], array[..., size:]
    wide = widened(rotated)
    frequencies = base ** (-jnp.arange(0, size, 2, dtype=wide.dtype) / size)
    angles = jnp.expand_dims(place.astype(wide.dtype), (2, 3)) * jnp.expand_dims(frequencies, (0, 1, 2))
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    if layout == "halves":
        a, b = jnp.split(wide, 2, axis=-1)
        pair = jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)
    else:
        a, b = wide[..., 0::2], wide[..., 1::2]
        pair = jnp.stack([a * cos - b * sin, a * sin + b * cos], axis=-1).reshape(wide.shape)
    pair = pair.astype(array.dtype)
    return jnp.concatenate([pair, rest], axis=-1) if rest.shape[-1] else pair


def rotary_layout(kernel: ArrayLike, heads: int, to: Layout, *, fraction: float = 1.0) -> jax.Array:
    """The kernel of queries or keys for the other layout of ``rotary``: (..., heads · D) → the same.

    Its last axis is reordered head by head, so that a net trained with one layout computes the same with the
    other. A bias is converted likewise.

    Args:
      kernel: (F, heads · D), or a bias (heads · D,).
      heads: how many heads stand side by side.
      to: the layout that is wanted; the kernel has the other one.
      fraction: as for ``rotary``.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> nn.ops.rotary_layout(jnp.arange(8), 2, to="halves")
    Array([0, 2, 1, 3, 4, 6, 5, 7], dtype=int32)
    """
    array = checks.array("rotary_layout", kernel, "kernel")
    heads = checks.integer("rotary_layout", "heads", heads, least=1)
    checks.choice("rotary_layout", "to", to, ("halves", "pairs"))
    if array.ndim == 0 or array.shape[-1] % heads:
        raise ValueError(
            f"rotary_layout: heads must divide the last axis of kernel, got {heads} and shape {array.shape}"
        )
    features = array.shape[-1] // heads
    size = _rotated("rotary_layout", features, fraction)
    split = array.reshape(*array.shape[:-1], heads, features)
    rotated, rest = split[..., :size], split[..., size:]
    shape = (size // 2, 2) if to == "halves" else (2, size // 2)
    rotated = jnp.swapaxes(rotated.reshape(*rotated.shape[:-1], *shape), -1, -2).reshape(rotated.shape)
    return jnp.concatenate([rotated, rest], axis=-1).reshape(array.shape)


def sinusoidal_positions(
    positions: ArrayLike, features: int, *, base: float = 10_000.0, dtype: DTypeLike = jnp.float32
) -> jax.Array:
    """Sines and cosines of a position: integers (...) → (..., features).

    y[2i] = sin(position · base^(−2i/features)),  y[2i + 1] = cos of the same.

    Args:
      positions: integers of any shape.
      features: the size of the last axis, even.
      base: the longest wave is 2π · base long.
      dtype: of the result; it is computed in float32 at least.

    Raises:
      ValueError: if ``features`` is odd.
      TypeError: if the positions are not integers.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> nn.ops.sinusoidal_positions(jnp.arange(5), 8).shape
    (5, 8)

    Vaswani et al., "Attention is all you need", 2017.
    """
    array = checks.array("sinusoidal_positions", positions, "positions")
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"sinusoidal_positions: positions must be integers, got {array.dtype}")
    features = checks.integer("sinusoidal_positions", "features", features, least=2)
    if features % 2:
        raise ValueError(f"sinusoidal_positions: features must be even, got {features}")
    base = checks.number("sinusoidal_positions", "base", base, above=0)
    result = checks.floating_type("sinusoidal_positions", "dtype", dtype)
    wide = result if result.itemsize == 8 else jnp.dtype(jnp.float32)
    frequencies = base ** (-jnp.arange(0, features, 2, dtype=wide) / features)
    angles = jnp.expand_dims(array.astype(wide), -1) * jnp.expand_dims(frequencies, tuple(range(array.ndim)))
    waves = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    return waves.reshape(*array.shape, features).astype(result)


def alibi_bias(heads: int, keys: int, *, dtype: DTypeLike = jnp.float32) -> jax.Array:
    """ALiBi's bias for causal attention: (1, heads, 1, keys), mₕ · s for key s.

    The paper's bias is −mₕ · (t − s), with mₕ = 2^(−8(h + 1)/heads); what depends on t alone is the same for
    all keys that query t reads, and the softmax does not see it. So one row per head is enough.

    Args:
      heads: how many. Where this is no power of two, the slopes are those of the next smaller one, and
        then every other one of twice as many, as in the paper.
      keys: S.
      dtype: of the result. float32 at least, unless there are few keys.

    >>> import jaxnn as nn
    >>> nn.ops.alibi_bias(8, 100).shape
    (1, 8, 1, 100)

    Press, Smith and Lewis, "Train short, test long", 2022 (arXiv:2108.12409).
    """
    heads = checks.integer("alibi_bias", "heads", heads, least=1)
    keys = checks.integer("alibi_bias", "keys", keys, least=1)
    result = checks.floating_type("alibi_bias", "dtype", dtype)
    slopes = jnp.asarray(_slopes(heads), result)
    place = jnp.arange(keys, dtype=jnp.int32).astype(result)
    return jnp.expand_dims(slopes, (0, 2, 3)) * jnp.expand_dims(place, (0, 1, 2))


def _slopes(heads: int) -> list[float]:
    power = 1 << (heads.bit_length() - 1)
    slopes = [2 ** (-8 * (h + 1) / power) for h in range(power)]
    return slopes + [2 ** (-4 * (h + 1) / power) for h in range(0, 2 * (heads - power), 2)]


def _rotated(owner: str, features: int, fraction: float) -> int:
    """How many features are rotated."""
    share = checks.number(owner, "fraction", fraction, above=0, most=1)
    size = round(share * features)
    if size % 2 or size == 0:
        raise ValueError(
            f"{owner}: an even number of features must be rotated, got {size}: fraction {share} of {features}"
        )
    return size


def _positions(owner: str, positions: Any, x: jax.Array) -> jax.Array:
    """The positions as (1, T) or (N, T)."""
    steps = x.shape[1]
    if positions is None:
        return jnp.expand_dims(jnp.arange(steps, dtype=jnp.int32), 0)
    array = checks.array(owner, positions, "positions")
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{owner}: positions must be integers, got {array.dtype}")
    if array.shape not in ((steps,), x.shape[:2]):
        raise ValueError(
            f"{owner}: positions must be (T,) = ({steps},) or (N, T) = {x.shape[:2]}, got shape {array.shape}"
        )
    return array if array.ndim == 2 else jnp.expand_dims(array, 0)
