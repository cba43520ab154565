"""VGG with batch norm."""

from __future__ import annotations

from collections.abc import Sequence

from jaxnn.combinators import serial
from jaxnn.layer import Layer, constructor
from jaxnn.layers import adaptive_avg_pool, batch_norm, conv, dense, dropout, flatten, max_pool
from jaxnn.lifting import LayerLike
from jaxnn.models.parts import numbered, share, table
from jaxnn.ops import checks, relu

VGG11 = ((64, 1), (128, 1), (256, 2), (512, 2), (512, 2))


@constructor
def vgg(
    stages: Sequence[Sequence[int]],
    classes: int = 1000,
    *,
    dropout_rate: float = 0.5,
    hidden: int = 4096,
) -> Layer:
    """Any VGG with batch norm: (N, H, W, C) → (N, classes), H and W at least 2 to the number of stages.

    Each stage is a few 3×3 convolutions with batch norm and ReLU, then a max pool of 2; three dense layers
    follow, after an average over 7×7 places.

    Args:
      stages: rows (features, convolutions); VGG-16 is ``(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)``.
      classes: the number of outputs.
      dropout_rate: of the dropouts after the hidden dense layers.
      hidden: the size of these two.

    Source: Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, 2014.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.models.vgg(((8, 1), (16, 2)), 10, hidden=32), (1, 32, 32, 3))
    (1, 10)
    """
    return _vgg("vgg", stages, classes, dropout_rate, hidden)


@constructor
def vgg11_bn(classes: int = 1000, *, dropout_rate: float = 0.5, hidden: int = 4096) -> Layer:
    """VGG-11 with batch norm: (N, H, W, C) → (N, classes), from 32×32 on; 132,868,840 weights for 1000.

    The arguments are those of ``vgg``, the parts torchvision's ``vgg11_bn``.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.models.vgg11_bn(), (1, 224, 224, 3))
    (1, 1000)
    """
    return _vgg("vgg11_bn", VGG11, classes, dropout_rate, hidden)


def _vgg(
    owner: str, stages: Sequence[Sequence[int]], classes: int, dropout_rate: float, hidden: int
) -> Layer:
    classes = checks.integer(owner, "classes", classes, least=1)
    hidden = checks.integer(owner, "hidden", hidden, least=1)
    dropout_rate = share(owner, "dropout_rate", dropout_rate)
    layers: list[LayerLike] = []
    for features, convolutions in table(owner, "stages", stages, ("features", "convolutions")):
        unit: list[LayerLike] = [conv(features, 3, padding=1), batch_norm(), relu]
        layers += [*unit * convolutions, max_pool(2)]
    return serial(
        features=numbered(*layers),
        avgpool=adaptive_avg_pool(7),
        flatten=flatten,
        classifier=numbered(
            dense(hidden), relu, dropout(dropout_rate),
            dense(hidden), relu, dropout(dropout_rate),
            dense(classes),
        ),
    )  # fmt: skip
