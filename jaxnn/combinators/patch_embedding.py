"""An image, or any array with spatial axes, as a sequence of patches."""

from __future__ import annotations

from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from jaxnn.combinators.graph import Parts, composite
from jaxnn.layer import Layer, constructor
from jaxnn.layers.conv import conv
from jaxnn.layers.initialisers import HE_NORMAL, ZEROS
from jaxnn.ops import windows
from jaxnn.ops.windows import Ints


@constructor
def patch_embedding(
    features: int,
    window: Ints,
    *,
    bias: bool = True,
    kernel_init: Initializer = HE_NORMAL,
    bias_init: Initializer = ZEROS,
) -> Layer:
    """Cuts x into patches and maps each to a vector: ``(N, *space, C) → (N, patches, features)``.

    A convolution whose strides are its window, its places in one row, the last axis fastest. What is left at
    the high end of an axis is not read. The part ``conv`` has the weights.

    Args:
      features: the size of a patch's vector.
      window: the size of a patch: an int, or one per axis.
      bias: whether to add a bias.
      kernel_init: any function of (key, shape, dtype).
      bias_init: the same for the bias.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.patch_embedding(64, 16), (1, 224, 224, 3))
    (1, 196, 64)

    Dosovitskiy et al., "An image is worth 16×16 words", 2021 (arXiv:2010.11929).
    """
    patches = conv(features, window, strides=window, bias=bias, kernel_init=kernel_init, bias_init=bias_init)

    def flow(f: Parts, x: Any) -> jax.Array:
        if getattr(x, "ndim", 0) > 2:
            windows.per_axis("patch_embedding", "window", window, x.ndim - 2)
        y = f.conv(x)
        return jnp.reshape(y, (y.shape[0], prod(y.shape[1:-1]), y.shape[-1]))

    return composite("patch_embedding", flow, {"conv": patches})
