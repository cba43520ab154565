"""The weights that layers of products share, a kernel and a bias if wanted, and the default initialisers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import initializers
from jax.nn.initializers import Initializer

from jaxnn.layer import Key, Weights, fold_name

# The defaults, each as one compiled program per shape; JAX's own call a dozen. They are functions of
# this module, so that a layer sent to another process finds them there by name.
_he_normal, _zeros, _ones = (
    jax.jit(init, static_argnums=(1, 2, 3))
    for init in (initializers.he_normal(), initializers.zeros, initializers.ones)
)


def HE_NORMAL(key: Key, shape: Any, dtype: Any = None, out_sharding: Any = None) -> jax.Array:
    """The default of every kernel: variance 2 / fan-in, truncated at two deviations and scaled for that."""
    return _he_normal(key, shape, dtype, out_sharding)


def ZEROS(key: Key, shape: Any, dtype: Any = None, out_sharding: Any = None) -> jax.Array:
    """The default of every bias."""
    return _zeros(key, shape, dtype, out_sharding)


def ONES(key: Key, shape: Any, dtype: Any = None, out_sharding: Any = None) -> jax.Array:
    """The default of every scale."""
    return _ones(key, shape, dtype, out_sharding)


#: Name, initialiser and shape of each array that a layer draws.
Plan = tuple[tuple[str, Initializer, tuple[int, ...]], ...]


def kernel_and_bias(
    key: Key,
    dtype: Any,
    kernel: tuple[int, ...],
    kernel_init: Initializer,
    bias: tuple[int, ...] | None,
    bias_init: Initializer,
) -> Weights:
    """``{"kernel": ..., "bias": ...}`` of these shapes, each from its own key; no bias if that is None."""
    plan: Plan = (("kernel", kernel_init, kernel),)
    if bias is not None:
        plan += (("bias", bias_init, bias),)
    # The defaults as one program: to start one for each key and each array costs more.
    draw = _compiled if kernel_init is HE_NORMAL and bias_init is ZEROS else _draw
    weights: Weights = draw(key, jnp.dtype(dtype), plan)
    return weights


def _draw(key: Key, dtype: Any, plan: Plan) -> Weights:
    return {name: init(fold_name(key, name), shape, dtype) for name, init, shape in plan}


_compiled = jax.jit(_draw, static_argnums=(1, 2))
