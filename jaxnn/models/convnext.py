"""ConvNeXt."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from jax.nn.initializers import truncated_normal

from jaxnn.combinators import residual, serial
from jaxnn.layer import Layer, constructor
from jaxnn.layers import conv, dense, depthwise_conv, drop_path, global_avg_pool, layer_norm
from jaxnn.lifting import LayerLike
from jaxnn.models.parts import layer_scale, numbered, share, table
from jaxnn.ops import checks, gelu

#: (features, blocks), a row per stage.
TINY = ((96, 3), (192, 3), (384, 9), (768, 3))

_INIT = truncated_normal(0.02)
_conv = partial(conv, kernel_init=_INIT)
_dense = partial(dense, kernel_init=_INIT)
_norm = partial(layer_norm, epsilon=1e-6)


@constructor
def convnext(
    stages: Sequence[Sequence[int]],
    classes: int = 1000,
    *,
    stochastic_depth_rate: float = 0.0,
    scale: float = 1e-6,
) -> Layer:
    """Any ConvNeXt: (N, H, W, C) → (N, classes); H and W at least 4 · 2 to the number of stages less 1.

    Patches of 4×4, then stages of residual blocks: a depthwise 7×7 convolution, layer norm, and two dense
    layers with an exact GELU between them, four times as wide. Kernels start from a truncated normal
    distribution of deviation 0.02, as in the paper.

    Args:
      stages: rows (features, blocks).
      classes: the number of outputs.
      stochastic_depth_rate: in training an example skips a block with a probability that grows with depth
        from 0 to this rate.
      scale: where the learnt factor of each block's channels starts.

    Source: Liu et al., A ConvNet for the 2020s, 2022.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.models.convnext(((8, 1), (16, 2)), 10), (1, 32, 32, 3))
    (1, 10)
    """
    return _convnext("convnext", stages, classes, stochastic_depth_rate, scale)


@constructor
def convnext_tiny(classes: int = 1000, *, stochastic_depth_rate: float = 0.1, scale: float = 1e-6) -> Layer:
    """ConvNeXt-T: (N, H, W, C) → (N, classes), made for 224×224; 28,589,128 weights for 1000 classes.

    The arguments are those of ``convnext``.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.models.convnext_tiny(), (1, 64, 64, 3))
    (1, 1000)
    """
    return _convnext("convnext_tiny", TINY, classes, stochastic_depth_rate, scale)


def _convnext(
    owner: str,
    stages: Sequence[Sequence[int]],
    classes: int,
    stochastic_depth_rate: float,
    scale: float,
) -> Layer:
    classes = checks.integer(owner, "classes", classes, least=1)
    stochastic_depth_rate = share(owner, "stochastic_depth_rate", stochastic_depth_rate)
    scale = checks.number(owner, "scale", scale)
    rows = table(owner, "stages", stages, ("features", "blocks"))
    last = max(sum(blocks for _, blocks in rows) - 1, 1)
    place = 0
    layers = [numbered(_conv(rows[0][0], 4, strides=4), _norm())]
    for stage, (features, blocks) in enumerate(rows):
        if stage:
            layers.append(numbered(_norm(), _conv(features, 2, strides=2)))
        members = []
        for _ in range(blocks):
            members.append(_block(features, stochastic_depth_rate * place / last, scale))
            place += 1
        layers.append(numbered(*members))
    return serial(
        features=numbered(*layers),
        avgpool=global_avg_pool,
        classifier=serial(**{"0": _norm(), "2": _dense(classes)}),
    )


def _block(features: int, rate: float, scale: float) -> Layer:
    # torchvision numbers its changes of layout too, 1 and 6.
    parts: dict[str, LayerLike] = {
        "0": depthwise_conv(7, padding=3, kernel_init=_INIT),
        "2": _norm(),
        "3": _dense(4 * features),
        "4": partial(gelu, approximate=False),
        "5": _dense(features),
    }
    return residual(block=serial(**parts), layer_scale=layer_scale(scale), stochastic_depth=drop_path(rate))
