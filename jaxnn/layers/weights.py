"""The weights that layers of products share, a kernel and a bias if wanted, and the default initialisers."""

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
