"""DenseNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from jaxnn.combinators import graph, serial
from jaxnn.layer import Layer, constructor
from jaxnn.layers import avg_pool, batch_norm, conv, dense, global_avg_pool, max_pool
from jaxnn.lifting import LayerLike
from jaxnn.models.parts import counts
from jaxnn.ops import checks, relu


@constructor
def densenet(
    blocks: Sequence[int],
    classes: int = 1000,
    *,
    growth: int = 32,
    stem: int = 64,
    bottleneck: int = 4,
) -> Layer:
    """Any DenseNet-BC: (N, H, W, C) → (N, classes), made for 224×224.

    Within a dense block each layer sees the outputs of all layers before it, and adds ``growth`` channels to
    them; between blocks a transition halves channels and places.

    Args:
      blocks: the number of layers of each dense block.
      classes: the number of outputs.
      growth: the channels that a layer adds.
      stem: the channels of the first convolution.
      bottleneck: a layer's 1×1 convolution makes ``bottleneck · growth`` channels.

    Source: Huang et al., Densely Connected Convolutional Networks, 2017.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.models.densenet((2, 2), 10, growth=4, stem=8), (1, 32, 32, 3))
    (1, 10)
    """
    return _densenet("densenet", blocks, classes, growth, stem, bottleneck)


@constructor
def densenet121(classes: int = 1000) -> Layer:
    """DenseNet-121: (N, H, W, C) → (N, classes); 7,978,856 weights for 1000 classes. See ``densenet``.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.models.densenet121(), (1, 64, 64, 3))
    (1, 1000)
    """
    return _densenet("densenet121", (6, 12, 24, 16), classes, 32, 64, 4)


def _densenet(
    owner: str, blocks: Sequence[int], classes: int, growth: int, stem: int, bottleneck: int
) -> Layer:
    blocks = counts(owner, "blocks", blocks)
    classes = checks.integer(owner, "classes", classes, least=1)
    growth = checks.integer(owner, "growth", growth, least=1)
    stem = checks.integer(owner, "stem", stem, least=1)
    bottleneck = checks.integer(owner, "bottleneck", bottleneck, least=1)
    features: dict[str, LayerLike] = {
        "conv0": conv(stem, 7, strides=2, padding=3, bias=False), "norm0": batch_norm(), "relu0": relu,
        "pool0": max_pool(3, strides=2, padding=1),
    }  # fmt: skip
    channels = stem
    for i, count in enumerate(blocks, start=1):
        if i > 1:
            channels //= 2
            features[f"transition{i - 1}"] = serial(
                norm=batch_norm(), relu=relu, conv=conv(channels, 1, bias=False), pool=avg_pool(2)
            )
        members = {f"denselayer{j}": _dense_layer(growth, bottleneck) for j in range(1, count + 1)}
        features[f"denseblock{i}"] = serial(**members)
        channels += count * growth
    return serial(
        features=serial(**features, norm5=batch_norm()),
        relu=relu,
        avgpool=global_avg_pool,
        classifier=dense(classes),
    )


def _dense_layer(growth: int, bottleneck: int) -> Layer:
    def flow(f: Any, x: Any) -> Any:
        new = f.conv2(relu(f.norm2(f.conv1(relu(f.norm1(x))))))
        return jnp.concatenate([x, new], axis=-1)

    return graph(
        flow,
        norm1=batch_norm(), conv1=conv(bottleneck * growth, 1, bias=False),
        norm2=batch_norm(), conv2=conv(growth, 3, padding=1, bias=False),
    )  # fmt: skip
