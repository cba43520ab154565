"""Casts the floating-point arrays in inputs, weights and params, and nothing else."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxnn.layer import Layer
from jaxnn.params import Params


def cast(tree: Any, dtype: DTypeLike) -> Any:
    """``tree`` with its floating-point leaves in ``dtype``."""
    return jax.tree.map(
        lambda leaf: (
            jnp.asarray(leaf).astype(dtype) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating) else leaf
        ),
        tree,
    )


def cast_weights(layer: Layer, params: Params, dtype: DTypeLike) -> Params:
    """``params`` of ``layer`` with all weights in ``dtype``, including fixed ones in the state."""
    if layer.cast is not None:
        return layer.cast(params, dtype)
    return Params(cast(params.weights, dtype), params.state)


def float_dtype(x: Any) -> DTypeLike:
    """The dtype of the first floating-point leaf, float32 if there is none."""
    dtypes = [jnp.result_type(leaf) for leaf in jax.tree.leaves(x)]
    return next((dtype for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating)), jnp.dtype(jnp.float32))
