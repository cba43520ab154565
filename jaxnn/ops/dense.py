"""The dense layer's arithmetic: one matrix product over the last axis."""

from functools import partial

import jax
from jax import lax
from jax.typing import ArrayLike

from jaxnn.kernels.matrix_product import check_implementation, matrix_product
from jaxnn.ops import checks
from jaxnn.ops.conv import add_bias


def dense(
    x: ArrayLike, kernel: ArrayLike, bias: ArrayLike | None = None, *, implementation: str | None = None
) -> jax.Array:
    """An affine map of the last axis: ``(..., F) → (..., O)``, y = x · kernel + bias.

    Products are summed in float32 at least, and the result is rounded to the input's dtype once, after the
    bias.

    Args:
      x: the input, ``(..., F)``, floating-point.
      kernel: ``(F, O)``, of the dtype of ``x``. PyTorch stores its transpose.
      bias: ``(O,)`` or None.
      implementation: the form of the kernel's gradient, by name; None chooses by platform and sizes. The
        form of the product itself is always chosen.

    Raises:
      ValueError: a kernel that is not a matrix or whose number of rows is not that of x's features; a form
        that is not there.
      TypeError: a dtype that is not floating-point, or differs from that of ``x``.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> nn.ops.dense(jnp.ones((2, 5, 3)), jnp.ones((3, 4)), jnp.ones(4)).shape
    (2, 5, 4)
    """
    x, kernel, bias = checks.operands("dense", x, kernel, bias)
    if kernel.ndim != 2:
        raise ValueError(f"dense: kernel must be (F, O), got shape {kernel.shape}")
    if x.ndim == 0 or x.shape[-1] != kernel.shape[0]:
        raise ValueError(
            f"dense: x must have {kernel.shape[0]} features for a kernel of shape {kernel.shape}, "
            f"got shape {x.shape}"
        )
    checks.one_per_channel("dense", "bias", bias, kernel.shape[1])
    check_implementation("dense", implementation)
    return _affine(x, kernel, bias, implementation)


@partial(
    jax.jit, static_argnums=3, inline=True
)  # traced and differentiated once per shape, not at every call
def _affine(x: jax.Array, kernel: jax.Array, bias: jax.Array | None, implementation: str | None) -> jax.Array:
    return lax.convert_element_type(add_bias(matrix_product(x, kernel, implementation), bias), x.dtype)
