"""``separable_conv``: a depthwise convolution, then a pointwise one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jax.nn.initializers import Initializer

from jaxnn.combinators.graph import composite
from jaxnn.draft import Drafted, Draw, draft
from jaxnn.layer import Layer, constructor
from jaxnn.layers.conv import check_settings, conv, depthwise_conv, window_for
from jaxnn.layers.initialisers import HE_NORMAL, ZEROS
from jaxnn.ops import checks
from jaxnn.ops.windows import Ints, Padding
from jaxnn.params import Key
from jaxnn.sequences import with_lengths


@constructor
def separable_conv(
    features: int,
    window: Ints,
    *,
    multiplier: int = 1,
    strides: Ints = 1,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    bias: bool = True,
    kernel_init: Initializer = HE_NORMAL,
    bias_init: Initializer = ZEROS,
) -> Layer:
    """A depthwise convolution, then one with window 1: ``(N, *space, C) → (N, *out, features)``.

    Weights: ``depthwise`` holds a ``kernel (*window, 1, C · multiplier)`` and no bias, ``pointwise`` a
    ``kernel (1…, C · multiplier, features)`` and, with ``bias=True``, a ``bias (features,)``. The settings
    are those of ``nn.conv``; both kernels start from ``kernel_init``.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.separable_conv(8, 3, padding="SAME"), (1, 28, 28, 4))
    (1, 28, 28, 8)
    """
    features = checks.integer("separable_conv", "features", features, least=1)
    multiplier = checks.integer("separable_conv", "multiplier", multiplier, least=1)
    check_settings("separable_conv", window, strides, padding, dilation)
    checks.flags("separable_conv", bias=bias)
    checks.initialisers("separable_conv", kernel_init=kernel_init, bias_init=bias_init)

    depthwise = depthwise_conv(
        window,
        multiplier=multiplier,
        strides=strides,
        padding=padding,
        dilation=dilation,
        bias=False,
        kernel_init=kernel_init,
    )
    pointwise = conv(features, 1, bias=bias, kernel_init=kernel_init, bias_init=bias_init)
    parts = {"depthwise": depthwise, "pointwise": pointwise}
    layer = composite("separable_conv", lambda f, x: f.pointwise(f.depthwise(x)), parts)

    def drafted(key: Key, x: Any) -> tuple[Any, Draw]:
        given = with_lengths(x)
        own = x if given is None else given.x
        window_for("separable_conv", own, window, strides, padding, dilation)
        return draft(layer, key, x)

    return replace(layer, init=Drafted(drafted, layer.apply))
