"""The default initialisers: the values of those of ``jax.nn.initializers``, from few compiled programs.

XLA takes 0.9 s of processor time to compile random bits of shape (3, 3, 4, 3), and 0.2 s for the same bits in
one row, of any length. Hence values are drawn in a row and put into shape afterwards. A longer row begins
with the values of a shorter one, so that outside of ``jit`` a few lengths of rows serve all shapes.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxnn.params import Key

#: Larger arrays are drawn in their own shape, so that devices that hold parts of one draw these parts alone.
LARGEST_ROW = 1 << 20
#: The lengths of rows, by powers of 4: at most 4 times as much is drawn as needed.
ROWS = [1 << n for n in range(8, 21, 2)]

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
    if not _fits_a_row(shape, dtype, out_sharding):
        return _he_normal(key, shape, dtype, out_sharding)
    return _in_a_row("truncated", 2 / prod(shape[:-1]), key, shape, dtype)


def GLOROT_UNIFORM(key: Key, shape: Any, dtype: Any = None, out_sharding: Any = None) -> jax.Array:
    """The default of attention's kernels: variance 2 / (fan-in + fan-out)."""
    if not _fits_a_row(shape, dtype, out_sharding):
        return _glorot_uniform(key, shape, dtype, out_sharding)
    fans = prod(shape[:-2]) * (shape[-2] + shape[-1])
    return _in_a_row("uniform", 2 / fans, key, shape, dtype)


def UNIT_ROWS(key: Key, shape: Any, dtype: Any = None, out_sharding: Any = None) -> jax.Array:
    """The default of embeddings (vocabulary, features): variance 1 / features, so rows of length about 1."""
    if not _fits_a_row(shape, dtype, out_sharding):
        return _unit_rows(key, shape, dtype, out_sharding)
    return _in_a_row("normal", 1 / shape[1], key, shape, dtype)


def ZEROS(key: Key, shape: Any, dtype: Any = None, out_sharding: Any = None) -> jax.Array:
    """The default of every bias."""
    return _zeros(key, shape, dtype, out_sharding)


def ONES(key: Key, shape: Any, dtype: Any = None, out_sharding: Any = None) -> jax.Array:
    """The default of every scale."""
    return _ones(key, shape, dtype, out_sharding)


def _fits_a_row(shape: Any, dtype: Any, out_sharding: Any) -> bool:
    real = dtype is None or jnp.issubdtype(dtype, jnp.floating)
    return real and out_sharding is None and len(shape) > 1 and 0 < prod(shape) <= LARGEST_ROW


def _in_a_row(distribution: str, variance: float, key: Key, shape: Any, dtype: Any) -> jax.Array:
    size, dtype = prod(shape), jnp.dtype(jnp.result_type(float) if dtype is None else dtype)
    if not isinstance(key, jax.core.Tracer) and _a_row_begins_like_a_shorter_one(key):
        size = next(row for row in ROWS if row >= size)
    return _shaped(_row(key, distribution, size, dtype), distribution, variance, tuple(shape))


def _a_row_begins_like_a_shorter_one(key: Key) -> bool:
    partitionable = jax.config.jax_threefry_partitionable  # type: ignore[attr-defined]
    return bool(partitionable) and jax.random.key_impl(key) == "threefry2x32"


@partial(jax.jit, static_argnums=(1, 2, 3))
def _row(key: Key, distribution: str, size: int, dtype: Any) -> jax.Array:
    if distribution == "truncated":
        return jax.random.truncated_normal(key, -2, 2, (size,), dtype)
    if distribution == "uniform":
        return jax.random.uniform(key, (size,), dtype, -1)
    return jax.random.normal(key, (size,), dtype)


@partial(jax.jit, static_argnums=(1, 2, 3))
def _shaped(row: jax.Array, distribution: str, variance: float, shape: tuple[int, ...]) -> jax.Array:
    """The first values of the row, with this variance."""
    scale = jnp.sqrt(jnp.asarray((3 if distribution == "uniform" else 1) * variance, row.dtype))
    if distribution == "truncated":
        scale /= jnp.asarray(0.87962566103423978, row.dtype)  # the deviation of what is truncated at 2
    return (row[: prod(shape)] * scale).reshape(shape)
