"""MobileNetV2."""

from __future__ import annotations

from collections.abc import Sequence

from jaxnn.combinators import residual, serial
from jaxnn.layer import Layer, constructor
from jaxnn.layers import batch_norm, conv, dense, dropout, global_avg_pool
from jaxnn.models.parts import conv_norm, depthwise_norm, divisible, numbered, share, table
from jaxnn.ops import checks, relu6

#: (expansion, features, blocks, strides of the first block), a row per stage.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


@constructor
def mobilenet_v2(
    classes: int = 1000,
    *,
    width_mult: float = 1.0,
    dropout_rate: float = 0.2,
    stages: Sequence[Sequence[int]] = STAGES,
) -> Layer:
    """MobileNetV2: (N, H, W, C) → (N, classes), made for 224×224; 3,504,872 weights for 1000 classes.

    Inverted residuals: a 1×1 convolution widens, a depthwise 3×3 one filters, a 1×1 one narrows without an
    activation; blocks that keep the shape add their input.

    Args:
      classes: the number of outputs.
      width_mult: a factor of all channels, which are rounded to multiples of 8.
      dropout_rate: of the dropout before the dense layer.
      stages: rows (expansion, features, blocks, strides).

    Source: Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, 2018.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.models.mobilenet_v2(), (1, 64, 64, 3))
    (1, 1000)
    """
    owner = "mobilenet_v2"
    classes = checks.integer(owner, "classes", classes, least=1)
    width_mult = checks.number(owner, "width_mult", width_mult, above=0)
    dropout_rate = share(owner, "dropout_rate", dropout_rate)
    rows = table(owner, "stages", stages, ("expansion", "features", "blocks", "strides"))
    channels = divisible(32 * width_mult)
    layers = [conv_norm(channels, 3, relu6, strides=2)]
    for expansion, wide, blocks, strides in rows:
        features = divisible(wide * width_mult)
        for i in range(blocks):
            layers.append(_block(channels, features, expansion, 1 if i else strides))
            channels = features
    layers.append(conv_norm(divisible(1280 * max(1.0, width_mult)), 1, relu6))
    return serial(
        features=numbered(*layers),
        avgpool=global_avg_pool,
        classifier=numbered(dropout(dropout_rate), dense(classes)),
    )


def _block(channels: int, features: int, expansion: int, strides: int) -> Layer:
    widen = [conv_norm(channels * expansion, 1, relu6)] if expansion > 1 else []
    layers = numbered(
        *widen, depthwise_norm(3, relu6, strides=strides), conv(features, 1, bias=False), batch_norm()
    )
    kept = strides == 1 and channels == features
    return residual(conv=layers) if kept else serial(conv=layers)
