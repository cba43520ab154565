"""Layers that resize the spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from jaxnn import ops
from jaxnn.layer import Layer, constructor
from jaxnn.layers.weights import weightless
from jaxnn.ops.checks import number
from jaxnn.ops.resize import check_method, scales
from jaxnn.ops.windows import Ints, any_axes


@constructor
def resize(
    size: Ints,
    *,
    method: str = "nearest",
    align_corners: bool = False,
    antialias: bool = False,
    cubic_coefficient: float = -0.75,
) -> Layer:
    """Resizes every spatial axis to ``size``: (N, *space, C) → (N, *size, C).

    Args:
      size: the output size: one integer for all spatial axes, or one per axis.
      method: ``"nearest"`` (which keeps integers), ``"linear"`` or ``"cubic"``. For the settings
        see ``nn.ops.resize``.
      align_corners: whether the centres of the corner pixels coincide.
      antialias: whether the kernel is widened on axes that shrink.
      cubic_coefficient: the slope of the cubic kernel at distance 1.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.resize((48, 20), method="linear"), (1, 32, 32, 3))
    (1, 48, 20, 3)
    """
    any_axes("resize", "size", size)
    check_method("resize", method, align_corners, antialias)
    number("resize", "cubic_coefficient", cubic_coefficient)

    def apply(x: Any) -> jax.Array:
        return ops.resize(
            x,
            size,
            method=method,
            align_corners=align_corners,
            antialias=antialias,
            cubic_coefficient=cubic_coefficient,
        )

    return weightless("resize", apply)


@constructor
def upsample(
    scale: float | Sequence[float], *, method: str = "nearest", align_corners: bool = False
) -> Layer:
    """Multiplies every spatial axis by ``scale``: (N, *space, C) → (N, *⌊space · scale⌋, C).

    Args:
      scale: a positive factor for all spatial axes, or one per axis.
      method: ``"nearest"`` (which keeps integers), ``"linear"`` or ``"cubic"``. For the settings
        see ``nn.ops.upsample``.
      align_corners: whether the centres of the corner pixels coincide.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.upsample(2), (1, 16, 16, 3))
    (1, 32, 32, 3)
    """
    scales("upsample", scale, len(scale) if isinstance(scale, Sequence) else 1)
    check_method("upsample", method, align_corners, antialias=False)

    def apply(x: Any) -> jax.Array:
        return ops.upsample(x, scale, method=method, align_corners=align_corners)

    return weightless("upsample", apply)


@constructor
def pixel_shuffle(scale: Ints) -> Layer:
    """Spreads channels over finer pixels: (N, *space, C·r₁·r₂…) → (N, *(space · r), C).

    Args:
      scale: the factors r: one integer for all spatial axes, or one per axis. For the order of the channels
        see ``nn.ops.pixel_shuffle``.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.pixel_shuffle(2), (1, 8, 8, 12))
    (1, 16, 16, 3)
    """
    any_axes("pixel_shuffle", "scale", scale)
    return weightless("pixel_shuffle", lambda x: ops.pixel_shuffle(x, scale))


@constructor
def pixel_unshuffle(scale: Ints) -> Layer:
    """Folds blocks of pixels into channels: (N, *space, C) → (N, *(space / r), C·r₁·r₂…).

    Args:
      scale: the factors r: one integer for all spatial axes, or one per axis. For the order of the channels
        see ``nn.ops.pixel_unshuffle``.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.pixel_unshuffle(2), (1, 16, 16, 3))
    (1, 8, 8, 12)
    """
    any_axes("pixel_unshuffle", "scale", scale)
    return weightless("pixel_unshuffle", lambda x: ops.pixel_unshuffle(x, scale))
