"""LeNet-5."""

from __future__ import annotations

from jaxnn.combinators import serial
from jaxnn.layer import Layer, constructor
from jaxnn.layers import avg_pool, conv, dense, flatten
from jaxnn.ops import checks, tanh


@constructor
def lenet(classes: int = 10) -> Layer:
    """LeNet-5: (N, 28, 28, 1) → (N, classes).

    Two convolutions with tanh and average pooling, three dense layers: 61,706 weights for 10 classes. The
    paper's learnt factors of the pools and its sparse table of connections are left out, as is usual.

    Args:
      classes: the number of outputs.

    Source: LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.models.lenet(), (1, 28, 28, 1))
    (1, 10)
    """
    classes = checks.integer("lenet", "classes", classes, least=1)
    return serial(
        c1=conv(6, 5, padding=2), tanh1=tanh, s2=avg_pool(2),
        c3=conv(16, 5), tanh3=tanh, s4=avg_pool(2),
        flatten=flatten, f5=dense(120), tanh5=tanh, f6=dense(84), tanh6=tanh,
        output=dense(classes),
    )  # fmt: skip
