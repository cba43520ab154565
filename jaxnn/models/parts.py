"""What several nets are made of: numbered layers, convolution with batch norm, a factor per channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.combinators import serial
from jaxnn.layer import Layer, stateless
from jaxnn.layers import batch_norm, conv, depthwise_conv
from jaxnn.lifting import LayerLike
from jaxnn.ops import checks
from jaxnn.params import Key


def numbered(*layers: LayerLike) -> Layer:
    """``serial`` with the names that PyTorch's ``Sequential`` gives: ``0``, ``1``, ``2``, …."""
    return serial(**{str(place): layer for place, layer in enumerate(layers)})


def conv_norm(
    features: int, window: int, activation: LayerLike | None = None, *, strides: int = 1, groups: int = 1
) -> Layer:
    """Convolution of the same size without a bias, batch norm, activation: torchvision's usual three."""
    layer = conv(features, window, strides=strides, padding=window // 2, groups=groups, bias=False)
    return numbered(layer, batch_norm(), *_given(activation))


def depthwise_norm(window: int, activation: LayerLike | None = None, *, strides: int = 1) -> Layer:
    """The same three with a depthwise convolution."""
    layer = depthwise_conv(window, strides=strides, padding=window // 2, bias=False)
    return numbered(layer, batch_norm(), *_given(activation))


def _given(activation: LayerLike | None) -> tuple[LayerLike, ...]:
    return () if activation is None else (activation,)


def layer_scale(start: float) -> Layer:
    """A learnt factor per channel, weight ``scale (C,)``: (..., C) → the same."""

    def init(key: Key, x: Any) -> dict[str, jax.Array]:
        return {"scale": jnp.full(x.shape[-1:], start, x.dtype)}

    def apply(weights: Any, x: Any) -> jax.Array:
        return jnp.multiply(x, jnp.expand_dims(weights["scale"], range(x.ndim - 1)))

    return stateless("layer_scale", init, apply, entries={"scale": ("C",)})


def divisible(channels: float) -> int:
    """The multiple of 8 next to ``channels``, at least 8 and at least 90 % of it: torchvision's rounding."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def counts(owner: str, name: str, value: Any) -> tuple[int, ...]:
    """``value`` as a tuple of ints; raises unless it is a sequence of integers of at least 1."""
    given = checks.integers(value) if isinstance(value, Sequence) else None
    if not given or min(given) < 1:
        raise checks.wrong_kind(owner, name, "a sequence of integers of at least 1", value)
    return given


def table(owner: str, name: str, value: Any, columns: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    """``value`` as a tuple of rows; raises unless each row has an integer of at least 1 in each column."""
    rows = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    given = [checks.integers(row) if isinstance(row, Sequence) else None for row in rows]
    if not rows or any(row is None or len(row) != len(columns) or min(row) < 1 for row in given):
        rule = f"a sequence of rows ({', '.join(columns)}) of integers of at least 1"
        raise checks.wrong_kind(owner, name, rule, value)
    return tuple(row for row in given if row is not None)


def share(owner: str, name: str, value: Any) -> float:
    """``value`` as a float; raises unless it is a number in [0, 1]."""
    return checks.number(owner, name, value, least=0, most=1)
