"""Activations with weights; those without are plain functions, which serve as layers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from jaxnn.layer import Layer, constructor, stateless
from jaxnn.layers.weights import drawn
from jaxnn.ops import checks
from jaxnn.ops.activation import prelu as prelu_op
from jaxnn.params import Key, Weights, fold_name
from jaxnn.sequences import each_step


@constructor
def prelu(*, shared: bool = False, slope_init: Initializer | None = None) -> Layer:
    """ReLU with a learnt slope below 0: (..., C) → (..., C). y = x where x ≥ 0, else slope · x.

    Weight ``slope``: one per channel, (C,), or with ``shared=True`` a single one, ().

    Args:
      shared: one slope for all channels.
      slope_init: initialiser of the slope; by default it starts at 0.25 (0.01 in Flax, 0 in Keras).

    Raises:
      TypeError: for integer input.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> layer = nn.prelu()
    >>> params = layer.init(jax.random.key(0), (1, 2))
    >>> print(layer.apply(params, jnp.array([[-4.0, 4.0]])))
    [[-1.  4.]]

    He et al., "Delving deep into rectifiers", 2015.
    """
    checks.flags("prelu", shared=shared)
    start = _quarter if slope_init is None else slope_init
    checks.initialisers("prelu", slope_init=start)

    def init(key: Key, x: Any) -> Weights:
        shape = () if shared else checks.one_shape("prelu", x).shape[-1:]
        return {"slope": drawn("prelu", "slope_init", start, fold_name(key, "slope"), shape, x.dtype)}

    entries = {"slope": () if shared else ("C",)}
    layer = stateless("prelu", init, lambda weights, x: prelu_op(x, weights["slope"]), entries=entries)
    return each_step(layer)


def _quarter(key: Key, shape: Any, dtype: Any = None, out_sharding: Any = None) -> jax.Array:
    return jnp.full(shape, 0.25, dtype, device=out_sharding)
