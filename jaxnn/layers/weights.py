"""The weights that layers of products share, a kernel and a bias if wanted, and the default initialisers."""

from typing import Any

import jax
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
    weights = {"kernel": kernel_init(fold_name(key, "kernel"), kernel, dtype)}
    if bias is not None:
        weights["bias"] = bias_init(fold_name(key, "bias"), bias, dtype)
    return weights
