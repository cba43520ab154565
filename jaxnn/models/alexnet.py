"""AlexNet."""

from __future__ import annotations

from jaxnn.combinators import serial
from jaxnn.layer import Layer, constructor
from jaxnn.layers import adaptive_avg_pool, conv, dense, dropout, flatten, max_pool
from jaxnn.models.parts import numbered, share
from jaxnn.ops import checks, relu


@constructor
def alexnet(classes: int = 1000, *, dropout_rate: float = 0.5, hidden: int = 4096) -> Layer:
    """AlexNet in torchvision's form: (N, H, W, C) → (N, classes), from 63×63 on, made for 224×224.

    Five convolutions, three max pools, three dense layers; 61,100,840 weights for 1000 classes.

    Args:
      classes: the number of outputs.
      dropout_rate: of the two dropouts before the hidden dense layers.
      hidden: the size of these two.

    Source: Krizhevsky, One Weird Trick for Parallelizing Convolutional Neural Networks, 2014.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.models.alexnet(), (1, 224, 224, 3))
    (1, 1000)
    """
    classes = checks.integer("alexnet", "classes", classes, least=1)
    hidden = checks.integer("alexnet", "hidden", hidden, least=1)
    dropout_rate = share("alexnet", "dropout_rate", dropout_rate)
    return serial(
        features=numbered(
            conv(64, 11, strides=4, padding=2), relu, max_pool(3, strides=2),
            conv(192, 5, padding=2), relu, max_pool(3, strides=2),
            conv(384, 3, padding=1), relu,
            conv(256, 3, padding=1), relu,
            conv(256, 3, padding=1), relu, max_pool(3, strides=2),
        ),
        avgpool=adaptive_avg_pool(6),
        flatten=flatten,
        classifier=numbered(
            dropout(dropout_rate), dense(hidden), relu,
            dropout(dropout_rate), dense(hidden), relu,
            dense(classes),
        ),
    )  # fmt: skip
