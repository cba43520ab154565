"""The weights that layers of products share: a kernel, and a bias if wanted."""

from typing import Any

from jax.nn.initializers import Initializer, he_normal

from jaxnn.layer import Key, Weights, fold_name

#: The default of every kernel: variance 2 / fan-in, truncated at two deviations with the variance put right.
HE_NORMAL: Initializer = he_normal()


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
