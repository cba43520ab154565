"""Dropout: in training random values become zero, and the others are scaled up to compensate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.kernels.bits import random_bits
from jaxnn.kernels.lowering.varying import sharding_as
from jaxnn.layer import Layer, constructor, stateless, stochastic
from jaxnn.ops import checks
from jaxnn.ops.checks import floating, number, spatial
from jaxnn.params import Key, Params, State, Weights, checks_params
from jaxnn.sequences import each_step

#: Probabilities are whole multiples of 1 / RESOLUTION.
RESOLUTION = 1 << 16


@constructor
def dropout(rate: float) -> Layer:
    """Drops each value with probability ``rate`` in training: any shape → the same shape.

    y = x / (1 − rate) with probability 1 − rate, else 0; the expected value is x. ``apply`` gives x itself. A
    dropped NaN is dropped. ``train`` needs a key, unless ``rate`` is 0 (gives x) or 1 (gives zeros).

    Args:
      rate: the probability to *drop* a value, in [0, 1], to the nearest multiple of 2⁻¹⁶ ≈ 0.000015. (In stax
        it is the probability to keep it.)

    Raises:
      ValueError: for a rate outside [0, 1]; from ``train`` without a key.
      TypeError: for integer input.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> layer = nn.dropout(0.5)
    >>> y, state = layer.train(nn.Params({}, {}), jnp.ones((2, 4)), jax.random.key(0))
    >>> sorted(set(y.ravel().tolist()))
    [0.0, 2.0]

    Srivastava et al., "Dropout", 2014.
    """
    return _dropout("dropout", rate, lambda x: x.shape)


@constructor
def spatial_dropout(rate: float) -> Layer:
    """Drops each whole channel of an example with probability ``rate``: (N, *space, C) → (N, *space, C).

    As ``dropout``, but all positions of a channel are kept or dropped together: neighbours in a feature map
    are much alike, so dropping single values hides little. Of a sequence, (N, T, C), it drops the same
    features at all steps, as variational dropout of the input does.

    Args:
      rate: the probability to *drop* a channel, in [0, 1].

    Raises:
      ValueError: for a rate outside [0, 1]; for input without spatial axes; from ``train`` without a key.
      TypeError: for integer input.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> layer = nn.spatial_dropout(0.5)
    >>> y, state = layer.train(nn.Params({}, {}), jnp.ones((1, 5, 5, 3)), jax.random.key(1))
    >>> bool((y == y[:, :1, :1, :]).all())
    True

    Tompson et al., "Efficient object localization using convolutional networks", 2015.
    """

    def one_per_channel(x: jax.Array) -> tuple[int, ...]:
        return (x.shape[0], *(1 for _ in spatial("spatial_dropout", x)), x.shape[-1])

    return _dropout("spatial_dropout", rate, one_per_channel)


@constructor
def drop_path(rate: float) -> Layer:
    """Drops all of an example with probability ``rate``: (N, ...) → the same: stochastic depth.

    As ``dropout``, with one draw per example. It stands before the sum of a residual, ``nn.residual(layer,
    nn.drop_path(0.1))``: what is dropped is the branch, and the others are scaled up to compensate.

    Args:
      rate: the probability to *drop* an example's branch, in [0, 1]; often growing with depth.

    Raises:
      ValueError: for a rate outside [0, 1]; for input without axes; from ``train`` without a key.
      TypeError: for integer input.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> layer = nn.drop_path(0.5)
    >>> y, state = layer.train(nn.Params({}, {}), jnp.ones((6, 2)), jax.random.key(0))
    >>> bool((y[:, 0] == y[:, 1]).all())
    True

    Huang et al., "Deep networks with stochastic depth", 2016.
    """

    def one_per_example(x: jax.Array) -> tuple[int, ...]:
        if x.ndim == 0:
            raise ValueError("drop_path: x must be (N, ...), got shape ()")
        return (x.shape[0], *(1,) * (x.ndim - 1))

    return _dropout("drop_path", rate, one_per_example)


def _dropout(name: str, rate: float, drawn: Any) -> Layer:
    """Dropout with one draw per element of the shape ``drawn(x)``, broadcast to x."""
    rule = "in [0, 1], the probability to drop a value"
    rate = number(name, "rate", rate, least=0, most=1, rule=rule)

    def init(key: Key, x: Any) -> Weights:
        checks.one_shape(name, x)
        return {}

    def apply(weights: Weights, x: Any) -> jax.Array:
        x = floating(name, x)
        drawn(x)
        return x

    def train(weights: Weights, x: Any, key: Key) -> jax.Array:
        x = floating(name, x)
        shape = drawn(x)
        kept = _draws(key, shape, sharding_as(x, shape)) < round((1 - rate) * RESOLUTION)
        return jnp.where(kept, x / (1 - rate), jnp.zeros_like(x))

    def drop_all(params: Params, x: Any, /, key: Key | None = None) -> tuple[jax.Array, State]:
        checks.optional_key(name, key)
        return jnp.zeros_like(apply(params.weights, x)), {}

    if 0 < rate < 1:
        return each_step(stochastic(name, init, apply, train, entries={}))
    keep_all = stateless(name, init, apply, entries={})
    if rate == 1:
        keep_all = replace(keep_all, train=checks_params(name, drop_all, entries={}))
    return each_step(keep_all)


def kept(key: Key, rate: float, shape: tuple[int, ...], dtype: Any, *, like: jax.Array) -> jax.Array:
    """A mask to multiply with: 1 / (1 − rate) with probability 1 − rate, else 0; sharded as ``like``."""
    draws = _draws(key, shape, sharding_as(like, shape))
    scale = jnp.asarray(1 / (1 - rate), dtype)
    return jnp.where(draws < round((1 - rate) * RESOLUTION), scale, jnp.zeros_like(scale))


def _draws(key: Key, shape: tuple[int, ...], sharding: jax.NamedSharding | None) -> jax.Array:
    """Integers from 0 to RESOLUTION − 1, all as likely.

    Random bits cost more than all else here, so each 32-bit word gives two draws. Where the last axis is
    split explicitly, each device draws for its rows all words, whose halves would otherwise have to move
    between devices, and takes its part: the draws do not depend on the sharding.
    """
    if not shape:
        return jax.random.bits(key, shape, jnp.uint32) >> 16
    *others, size = shape
    split = sharding is not None and sharding.spec[-1] is not None
    rows = sharding.update(spec=jax.P(*sharding.spec[:-1], None)) if sharding and split else sharding
    words = random_bits(key, (*others, -(-size // 2)), rows)
    draws = jnp.concatenate([words >> 16, words & (RESOLUTION - 1)], axis=-1)[..., :size]
    return jax.sharding.reshard(draws, sharding) if split else draws
