"""EfficientNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxnn.combinators import graph, residual, serial
from jaxnn.layer import Layer, constructor
from jaxnn.layers import conv, dense, drop_path, dropout, global_avg_pool
from jaxnn.models.parts import (
    conv_norm,
    depthwise_norm,
    numbered,
    share,
    table,
)
from jaxnn.ops import adaptive_avg_pool, checks, sigmoid, silu

#: (expansion, window, strides of the first block, features, blocks), a row per stage.
B0 = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


@constructor
def efficientnet(
    stages: Sequence[Sequence[int]],
    classes: int = 1000,
    *,
    stem: int = 32,
    dropout_rate: float = 0.2,
    stochastic_depth_rate: float = 0.2,
) -> Layer:
    """Any EfficientNet: (N, H, W, C) → (N, classes).

    Inverted residuals as in ``mobilenet_v2``, with SiLU, and with squeeze and excitation: each channel is
    multiplied by a factor in (0, 1) computed from the averages of all channels.

    Args:
      stages: rows (expansion, window, strides, features, blocks).
      classes: the number of outputs.
      stem: the channels of the first convolution.
      dropout_rate: of the dropout before the dense layer.
      stochastic_depth_rate: in training an example skips a residual block with a probability that grows with
        depth from 0 almost to this rate.

    Source: Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, 2019.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.models.efficientnet([(1, 3, 1, 8, 1), (4, 5, 2, 16, 2)], 10), (1, 32, 32, 3))
    (1, 10)
    """
    return _efficientnet("efficientnet", stages, classes, stem, dropout_rate, stochastic_depth_rate)


@constructor
def efficientnet_b0(
    classes: int = 1000, *, dropout_rate: float = 0.2, stochastic_depth_rate: float = 0.2
) -> Layer:
    """EfficientNet-B0: (N, H, W, C) → (N, classes), made for 224×224; 5,288,548 weights for 1000 classes.

    The arguments are those of ``efficientnet``.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.models.efficientnet_b0(), (1, 64, 64, 3))
    (1, 1000)
    """
    return _efficientnet("efficientnet_b0", B0, classes, 32, dropout_rate, stochastic_depth_rate)


def _efficientnet(
    owner: str,
    stages: Sequence[Sequence[int]],
    classes: int,
    stem: int,
    dropout_rate: float,
    stochastic_depth_rate: float,
) -> Layer:
    classes = checks.integer(owner, "classes", classes, least=1)
    stem = checks.integer(owner, "stem", stem, least=1)
    dropout_rate = share(owner, "dropout_rate", dropout_rate)
    stochastic_depth_rate = share(owner, "stochastic_depth_rate", stochastic_depth_rate)
    rows = table(owner, "stages", stages, ("expansion", "window", "strides", "features", "blocks"))
    total = sum(blocks for *_, blocks in rows)
    channels, place = stem, 0
    layers = [conv_norm(stem, 3, silu, strides=2)]
    for expansion, window, strides, features, blocks in rows:
        members = []
        for i in range(blocks):
            rate = stochastic_depth_rate * place / total
            members.append(_block(channels, features, expansion, window, 1 if i else strides, rate))
            channels, place = features, place + 1
        layers.append(numbered(*members))
    layers.append(conv_norm(4 * channels, 1, silu))
    return serial(
        features=numbered(*layers),
        avgpool=global_avg_pool,
        classifier=numbered(dropout(dropout_rate), dense(classes)),
    )


def _block(channels: int, features: int, expansion: int, window: int, strides: int, rate: float) -> Layer:
    wide = channels * expansion
    widen = [conv_norm(wide, 1, silu)] if expansion > 1 else []
    layers = numbered(
        *widen,
        depthwise_norm(window, silu, strides=strides),
        _squeeze_and_excite(max(1, channels // 4), wide),
        conv_norm(features, 1),
    )
    if strides > 1 or channels != features:
        return serial(block=layers)
    return residual(block=layers, stochastic_depth=drop_path(rate))


def _squeeze_and_excite(narrow: int, wide: int) -> Layer:
    def flow(f: Any, x: Any) -> Any:
        return x * sigmoid(f.fc2(silu(f.fc1(adaptive_avg_pool(x, 1)))))

    return graph(flow, fc1=conv(narrow, 1), fc2=conv(wide, 1))
