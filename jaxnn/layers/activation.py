"""Activations with weights; those without are plain functions, which serve as layers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from jaxnn.layer import Layer, constructor, stateless
from jaxnn.layers.dense import dense
from jaxnn.layers.weights import HE_NORMAL, ZEROS, drawn
from jaxnn.ops import activation as ops
from jaxnn.ops import checks
from jaxnn.params import Key, Params, State, Weights, fold_name
from jaxnn.shapes import Spec


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
    return stateless("prelu", init, lambda weights, x: ops.prelu(x, weights["slope"]), entries=entries)


def _quarter(key: Key, shape: Any, dtype: Any = None, out_sharding: Any = None) -> jax.Array:
    return jnp.full(shape, 0.25, dtype, device=out_sharding)


@constructor
def maxout(
    features: int,
    pieces: int,
    *,
    bias: bool = True,
    kernel_init: Initializer = HE_NORMAL,
    bias_init: Initializer = ZEROS,
) -> Layer:
    """The largest of several affine maps, feature by feature: (..., F) → (..., features).

    y[c] = max over j of (x · kernel + bias)[c · pieces + j]: a dense layer of features · pieces outputs,
    then the largest of every ``pieces`` neighbours. Weights ``kernel``, (F, features · pieces), and ``bias``.

    Args:
      features: the size of the last axis of the output.
      pieces: the number of maps per output.
      bias: whether to add a bias.
      kernel_init: initialiser of the kernel.
      bias_init: initialiser of the bias.

    Raises:
      TypeError: for integer input.
      ValueError: for features or pieces below 1, or an input of another size than at init.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.maxout(10, 3), (1, 64))
    (1, 10)

    Goodfellow et al., "Maxout networks", 2013.
    """
    features = checks.integer("maxout", "features", features, least=1)
    pieces = checks.integer("maxout", "pieces", pieces, least=1)
    checks.flags("maxout", bias=bias)
    checks.initialisers("maxout", kernel_init=kernel_init, bias_init=bias_init)
    inner = dense(features * pieces, bias=bias, kernel_init=kernel_init, bias_init=bias_init)

    def init(key: Key, shape: Spec, /) -> Params:
        return inner.init(key, shape)

    def apply(params: Params, x: Any, /) -> jax.Array:
        return ops.maxout(inner.apply(params, x), pieces)

    def train(params: Params, x: Any, key: Key | None = None, /) -> tuple[jax.Array, State]:
        checks.optional_key("maxout", key)
        return apply(params, x), {}

    return Layer("maxout", init, apply, train, draws=False)
