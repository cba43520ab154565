"""The weights that layers of products share, a kernel and a bias if wanted, and the default initialisers."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import initializers
from jax.nn.initializers import Initializer

from jaxnn.layer import Key, Weights, fold_name


def compiled(init: Initializer) -> Initializer:
    """The same initialiser as one compiled program a shape, where JAX's own calls a dozen each time."""
    return jax.jit(init, static_argnums=(1, 2))


#: The default of every kernel: variance 2 / fan-in, truncated at two deviations with the variance put right.
HE_NORMAL = compiled(initializers.he_normal())
ZEROS = compiled(initializers.zeros)
ONES = compiled(initializers.ones)


def kernel_and_bias(
    key: Key,
    dtype: Any,
    kernel: tuple[int, ...],
    kernel_init: Initializer,
    bias: tuple[int, ...] | None,
    bias_init: Initializer,
) -> Weights:
    """``{"kernel": ..., "bias": ...}`` of these shapes, each from its own key; no bias if that is None."""
    if kernel_init is HE_NORMAL and bias_init is ZEROS:
        return _default(key, jnp.dtype(dtype), kernel, bias)
    return _draw(key, dtype, kernel, kernel_init, bias, bias_init)


def _draw(
    key: Key,
    dtype: Any,
    kernel: tuple[int, ...],
    kernel_init: Initializer,
    bias: tuple[int, ...] | None,
    bias_init: Initializer,
) -> Weights:
    weights = {"kernel": kernel_init(fold_name(key, "kernel"), kernel, dtype)}
    if bias is not None:
        weights["bias"] = bias_init(fold_name(key, "bias"), bias, dtype)
    return weights


@partial(jax.jit, static_argnums=(1, 2, 3))
def _default(key: Key, dtype: Any, kernel: tuple[int, ...], bias: tuple[int, ...] | None) -> Weights:
    """One program for all that a layer draws: to start four costs more."""
    return _draw(key, dtype, kernel, HE_NORMAL, bias, ZEROS)
