"""Positions with typical settings, for the properties that every op must have."""

import jax
import jax.numpy as jnp

from jaxnn.ops import alibi_bias, rotary, rotary_layout, sinusoidal_positions
from tests.ops.case import Case

HEADS = (3, 5, 2, 6)


def pairs(x: jax.Array) -> jax.Array:
    return rotary(x, jnp.arange(3, 8), fraction=0.67, layout="pairs")


def waves(x: jax.Array) -> jax.Array:
    """Of positions that the rows have in them."""
    return x * sinusoidal_positions((4 * x[..., 0]).astype(jnp.int32), x.shape[-1], dtype=x.dtype)


def alibi(x: jax.Array) -> jax.Array:
    return x + alibi_bias(x.shape[1], x.shape[3], dtype=x.dtype)


CASES = [
    Case("rotary", rotary, (HEADS,), large=((2, 300, 4, 16),)),
    Case("rotary-pairs", pairs, (HEADS,)),
    Case("rotary-layout", lambda x: rotary_layout(x, 3, "halves"), (HEADS,)),
    Case("sinusoidal-positions", waves, ((3, 5, 6),)),
    Case("alibi-bias", alibi, ((3, 2, 4, 5),)),
]
