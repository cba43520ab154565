"""Dense layers: every output feature sees every input feature."""

from __future__ import annotations

from typing import Any

import jax
from jax.nn.initializers import Initializer

from jaxnn.layer import Layer, constructor, stateless
from jaxnn.layers.initialisers import HE_NORMAL, ZEROS
from jaxnn.layers.weights import kernel_and_bias
from jaxnn.ops import checks
from jaxnn.ops.dense import dense as dense_op
from jaxnn.params import Key, Weights
from jaxnn.sequences import each_step


@constructor
def dense(
    features: int,
    *,
    bias: bool = True,
    kernel_init: Initializer = HE_NORMAL,
    bias_init: Initializer = ZEROS,
) -> Layer:
    """An affine map of the last axis: ``(..., F) → (..., features)``; ``(x, lengths)`` too.

    Weights: ``kernel (F, features)`` and, with ``bias=True``, ``bias (features,)``.

    Args:
      features: the size of the last axis of the output.
      bias: whether to add a bias.
      kernel_init: any function of (key, shape, dtype), such as those of ``jax.nn.initializers``.
      bias_init: the same for the bias.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.dense(10), (1, 64))
    (1, 10)
    """
    features = checks.integer("dense", "features", features, least=1)
    checks.flags("dense", bias=bias)
    checks.initialisers("dense", kernel_init=kernel_init, bias_init=bias_init)

    def init(key: Key, x: Any) -> Weights:
        checks.floating_dtype("dense", checks.one_shape("dense", x).dtype)
        if not x.shape:
            raise ValueError(f"dense: x must be (..., F), got shape {x.shape}")
        shape = (x.shape[-1], features)
        return kernel_and_bias(
            "dense", key, x.dtype, shape, kernel_init, (features,) if bias else None, bias_init
        )

    def apply(weights: Weights, x: Any) -> jax.Array:
        return dense_op(x, weights["kernel"], weights["bias"] if bias else None)

    entries = {"kernel": ("F", features), **({"bias": (features,)} if bias else {})}
    return each_step(stateless("dense", init, apply, entries=entries))
