"""ResNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxnn.combinators import graph, serial
from jaxnn.layer import Layer, constructor
from jaxnn.layers import batch_norm, conv, dense, global_avg_pool, max_pool
from jaxnn.lifting import LayerLike
from jaxnn.models.parts import conv_norm, counts, numbered
from jaxnn.ops import checks, relu


@constructor
def resnet(blocks: Sequence[int], classes: int = 1000, *, bottleneck: bool = False, width: int = 64) -> Layer:
    """Any ResNet: (N, H, W, C) → (N, classes), made for 224×224.

    A 7×7 convolution and a max pool, then stages of residual blocks, each with half the places and twice the
    channels of the one before, then a dense layer on the average over all places. As in torchvision, the
    3×3 convolution of a bottleneck has the stride (version 1.5).

    Args:
      blocks: the number of blocks of each stage; ``(3, 4, 6, 3)`` with ``bottleneck=True`` is ResNet-50.
      classes: the number of outputs.
      bottleneck: blocks of 1×1, 3×3 and 1×1 convolutions instead of two 3×3 ones; their outputs are four
        times as wide.
      width: the channels of the first stage.

    Source: He et al., Deep Residual Learning for Image Recognition, 2016.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.models.resnet((1, 1), 10, width=8), (1, 32, 32, 3))
    (1, 10)
    """
    return _resnet("resnet", blocks, classes, bottleneck, width)


@constructor
def resnet18(classes: int = 1000) -> Layer:
    """ResNet-18: (N, H, W, C) → (N, classes); 11,689,512 weights for 1000 classes. See ``resnet``.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.models.resnet18(), (1, 224, 224, 3))
    (1, 1000)
    """
    return _resnet("resnet18", (2, 2, 2, 2), classes, False, 64)


@constructor
def resnet50(classes: int = 1000) -> Layer:
    """ResNet-50: (N, H, W, C) → (N, classes); 25,557,032 weights for 1000 classes. See ``resnet``.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.models.resnet50(), (1, 64, 64, 3))
    (1, 1000)
    """
    return _resnet("resnet50", (3, 4, 6, 3), classes, True, 64)


def _resnet(owner: str, blocks: Sequence[int], classes: int, bottleneck: bool, width: int) -> Layer:
    blocks = counts(owner, "blocks", blocks)
    classes = checks.integer(owner, "classes", classes, least=1)
    width = checks.integer(owner, "width", width, least=1)
    checks.flags(owner, bottleneck=bottleneck)
    block, growth = (_bottleneck, 4) if bottleneck else (_basic, 1)
    stages: dict[str, LayerLike] = {}
    channels = width
    for stage, count in enumerate(blocks):
        features = width * 2**stage
        members = []
        for i in range(count):
            strides = 2 if stage and not i else 1
            changes = strides > 1 or channels != features * growth
            members.append(block(features, strides, changes))
            channels = features * growth
        stages[f"layer{stage + 1}"] = numbered(*members)
    return serial(
        conv1=conv(width, 7, strides=2, padding=3, bias=False), bn1=batch_norm(), relu=relu,
        maxpool=max_pool(3, strides=2, padding=1),
        **stages,
        avgpool=global_avg_pool,
        fc=dense(classes),
    )  # fmt: skip


def _basic(features: int, strides: int, changes: bool) -> Layer:
    def flow(f: Any, x: Any) -> Any:
        y = f.bn2(f.conv2(relu(f.bn1(f.conv1(x)))))
        return relu(y + (f.downsample(x) if changes else x))

    return graph(
        flow,
        conv1=conv(features, 3, strides=strides, padding=1, bias=False), bn1=batch_norm(),
        conv2=conv(features, 3, padding=1, bias=False), bn2=batch_norm(),
        **_downsample(features, strides, changes),
    )  # fmt: skip


def _bottleneck(features: int, strides: int, changes: bool) -> Layer:
    def flow(f: Any, x: Any) -> Any:
        y = relu(f.bn2(f.conv2(relu(f.bn1(f.conv1(x))))))
        return relu(f.bn3(f.conv3(y)) + (f.downsample(x) if changes else x))

    return graph(
        flow,
        conv1=conv(features, 1, bias=False), bn1=batch_norm(),
        conv2=conv(features, 3, strides=strides, padding=1, bias=False), bn2=batch_norm(),
        conv3=conv(4 * features, 1, bias=False), bn3=batch_norm(),
        **_downsample(4 * features, strides, changes),
    )  # fmt: skip


def _downsample(features: int, strides: int, changes: bool) -> dict[str, Layer]:
    return {"downsample": conv_norm(features, 1, strides=strides)} if changes else {}
