"""U-Net."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from jaxnn.combinators import graph, serial
from jaxnn.layer import Layer, constructor
from jaxnn.layers import conv, conv_transpose, max_pool
from jaxnn.ops import checks, relu


@constructor
def unet(classes: int = 2, *, width: int = 64, depth: int = 4) -> Layer:
    """U-Net: (N, H, W, C) → (N, H, W, classes), H and W multiples of 2 to the ``depth``.

    Two 3×3 convolutions per level, a max pool of 2 on the way down, a transposed convolution of 2 on the way
    up, where each level also sees its own output of the way down. Convolutions keep the size, where the
    paper's cut the border off. 31,030,658 weights for 1 channel and 2 classes.

    Args:
      classes: the number of output channels: one logit per place and class.
      width: the channels of the first level; each further one has twice as many.
      depth: the number of poolings.

    Source: Ronneberger et al., U-Net: Convolutional Networks for Biomedical Image Segmentation, 2015.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.models.unet(3, width=8), (1, 64, 64, 1))
    (1, 64, 64, 3)
    """
    classes = checks.integer("unet", "classes", classes, least=1)
    width = checks.integer("unet", "width", width, least=1)
    depth = checks.integer("unet", "depth", depth, least=0)
    return serial(levels=_level(width, depth), head=conv(classes, 1))


def _level(features: int, deeper: int) -> Layer:
    if not deeper:
        return _pair(features)

    def flow(f: Any, x: Any) -> Any:
        y = f.down(x)
        return f.up(jnp.concatenate([y, f.inner(y)], axis=-1))

    inner = serial(
        pool=max_pool(2),
        level=_level(2 * features, deeper - 1),
        upsample=conv_transpose(features, 2, strides=2),
    )
    return graph(flow, down=_pair(features), inner=inner, up=_pair(features))


def _pair(features: int) -> Layer:
    return serial(
        conv1=conv(features, 3, padding=1), relu1=relu, conv2=conv(features, 3, padding=1), relu2=relu
    )
