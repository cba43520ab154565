"""Pooling by attention as a layer: learnt scores say how much each position counts."""

from __future__ import annotations

from typing import Any

import jax
from jax.nn.initializers import Initializer

from jaxnn.layer import Layer, constructor, stateless
from jaxnn.layers.initialisers import ZEROS
from jaxnn.layers.weights import drawn
from jaxnn.ops import checks
from jaxnn.ops.attention_pool import attention_pool as attention_pool_op
from jaxnn.params import Key, Weights, fold_name
from jaxnn.sequences import of_whole, takes_lengths


@constructor
def attention_pool(*, heads: int = 1, kernel_init: Initializer = ZEROS) -> Layer:
    """The average of each channel, weighted by attention: ``(N, *space, C) → (N, C)``.

    a = softmax over all positions of x·kernel, and y = Σ a·x, for each head its own channels; see
    ``nn.ops.attention_pool``. Weight: ``kernel (C, heads)``, which starts at 0: as ``nn.global_avg_pool``.
    Of ``(x, lengths)``, with time as the first spatial axis, only the steps of each sequence count.

    Args:
      heads: how many weightings there are; divides C.
      kernel_init: any function of (key, shape, dtype).

    Raises:
      ValueError: heads that do not divide C, or an input without a spatial axis.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.serial(nn.lstm(8), nn.attention_pool(heads=2), nn.dense(3)), (1, 20, 5))
    (1, 3)
    """
    name = "attention_pool"
    heads = checks.integer(name, "heads", heads, least=1)
    checks.initialisers(name, kernel_init=kernel_init)

    def init(key: Key, x: Any) -> Weights:
        checks.floating_dtype(name, checks.one_shape(name, x).dtype)
        checks.spatial(name, x)
        if x.shape[-1] % heads:
            raise ValueError(f"{name}: heads must divide the channels of x, got {heads} and {x.shape[-1]}")
        shape, own_key = (x.shape[-1], heads), fold_name(key, "kernel")
        return {"kernel": drawn(name, "kernel_init", kernel_init, own_key, shape, x.dtype)}

    def apply(weights: Weights, inputs: Any) -> jax.Array:
        def pooled(x: Any, lengths: Any) -> jax.Array:
            return attention_pool_op(x, weights["kernel"], lengths=lengths)

        y: jax.Array = of_whole(name, pooled, inputs)
        return y

    return takes_lengths(stateless(name, init, apply, entries={"kernel": ("C", heads)}))
