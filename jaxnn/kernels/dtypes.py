"""The dtype in which sums are taken."""

import jax
import jax.numpy as jnp
from jax import lax


def accumulator(dtype: jnp.dtype) -> jnp.dtype:
    """The dtype that sums over ``dtype`` are taken in: float32 at least."""
    return dtype if dtype.itemsize >= 4 else jnp.dtype(jnp.float32)


def widened(x: jax.Array) -> jax.Array:
    """``x`` in the dtype that its sums are taken in."""
    return lax.convert_element_type(x, accumulator(x.dtype))
