"""The default initialisers: those of ``jax.nn.initializers``, compiled in a third of the time.

XLA takes about 0.3 s of processor time to compile random numbers of two axes, and 0.8 to 2 s for the same
numbers of three or four. Hence a kernel is drawn as a matrix (fan-in, features), then put into shape.
"""

from __future__ import annotations

from math import prod
from typing import Any

import jax
from jax.nn import initializers

from jaxnn.params import Key

#: More values are drawn in their own shape: devices that hold parts of an array draw these parts alone.
LARGEST_MATRIX = 1 << 20

# As one compiled program per shape; JAX's own run a dozen.
_he_normal, _glorot_uniform, _unit_rows, _zeros, _ones = (
    jax.jit(init, static_argnums=(1, 2, 3))
    for init in (
        initializers.he_normal(),
        initializers.glorot_uniform(),
        initializers.variance_scaling(1.0, "fan_in", "normal", in_axis=1, out_axis=0),
        initializers.zeros,
        initializers.ones,
    )
)

# Functions of this module, so that a layer sent to another process finds them there by name.


def HE_NORMAL(key: Key, shape: Any, dtype: Any = None, out_sharding: Any = None) -> jax.Array:
    """The default of most kernels: variance 2 / fan-in, truncated at two deviations and scaled for that."""
    if len(shape) > 2 and prod(shape) <= LARGEST_MATRIX and out_sharding is None:
        return _he_normal(key, (prod(shape[:-1]), shape[-1]), dtype, None).reshape(shape)
    return _he_normal(key, shape, dtype, out_sharding)


def GLOROT_UNIFORM(key: Key, shape: Any, dtype: Any = None, out_sharding: Any = None) -> jax.Array:
    """The default of attention's kernels: variance 2 / (fan-in + fan-out)."""
    return _glorot_uniform(key, shape, dtype, out_sharding)


def UNIT_ROWS(key: Key, shape: Any, dtype: Any = None, out_sharding: Any = None) -> jax.Array:
    """The default of embeddings (vocabulary, features): variance 1 / features, so rows of length about 1."""
    return _unit_rows(key, shape, dtype, out_sharding)


def ZEROS(key: Key, shape: Any, dtype: Any = None, out_sharding: Any = None) -> jax.Array:
    """The default of every bias."""
    return _zeros(key, shape, dtype, out_sharding)


def ONES(key: Key, shape: Any, dtype: Any = None, out_sharding: Any = None) -> jax.Array:
    """The default of every scale."""
    return _ones(key, shape, dtype, out_sharding)
