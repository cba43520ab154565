"""The dtype in which sums are taken."""

import jax
import jax.numpy as jnp
from jax import lax


def accumulator(dtype: jnp.dtype) -> jnp.dtype:
    """The dtype that sums over ``dtype`` are taken in: float32 at least."""
    return dtype if dtype.itemsize >= 4 else jnp.dtype(jnp.float32)


def widened(x: jax.Array) -> jax.Array:
    """``x`` in the dtype that its sums are taken in."""
    return cast(x, accumulator(x.dtype))


def cast(x: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """``x`` in ``dtype``; an array that has it already costs nothing to lower."""
    return x if x.dtype == dtype else lax.convert_element_type(x, dtype)
