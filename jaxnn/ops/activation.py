"""Elementwise activations that jax.nn lacks, and soft sign, whose derivative jax.nn gets wrong.

Every derivative is finite wherever its limit is: at 0, at large values of either sign and at ±∞. A NaN stays
a NaN. Everything keeps the dtype of its input.

Accuracy: values and first derivatives of what is written here and in ``gated.py`` are right to a few
roundings over the whole range, except close to where they cross 0. Limits: numbers below the smallest normal
one count as 0 on CPUs, in and out; ``tanh_shrink``, a difference, is right to a rounding of x; the
derivatives of what jax.nn has (``elu``, ``selu``, ``celu``, ``sigmoid``, ``tanh``) are right to a rounding of
1, so that their tails, below 6e-8 in float32, are lost.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxnn.kernels.dtypes import accumulator
from jaxnn.kernels.lowering.fusion import materialized
from jaxnn.kernels.lowering.varying import sharding_as
from jaxnn.ops import checks
from jaxnn.ops.checks import floating, same_dtype


def soft_sign(x: ArrayLike) -> jax.Array:
    """Soft sign: any shape → the same shape. y = x / (1 + |x|).

    Equal to ``jax.nn.soft_sign``, which gives ∞ / ∞, a NaN, at ±∞, and whose derivative, 1 / (1 + |x|)², is a
    difference that has lost its digits where |x| is large.

    Args:
      x: floating-point.

    Raises:
      TypeError: for integers.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> print(nn.ops.soft_sign(jnp.array([-jnp.inf, -1.0, 0.0, 3.0])))
    [-1.   -0.5   0.    0.75]

    Turian, Bergstra and Bengio, "Quadratic features and deep architectures for chunking", 2009.
    """
    y: jax.Array = _soft_sign(floating("soft_sign", x))
    return y


@jax.custom_jvp
def _soft_sign(x: jax.Array) -> jax.Array:
    far = jnp.isinf(x)
    return jnp.where(far, jnp.sign(x), jax.nn.soft_sign(jnp.where(far, jnp.zeros_like(x), x)))


@_soft_sign.defjvp
def _soft_sign_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (x,), (tangent,) = primals, tangents
    part = 1 / (1 + jnp.abs(x))
    return _soft_sign(x), tangent * part * part


def linear(x: ArrayLike) -> jax.Array:
    """The identity: any shape, any dtype → the same. y = x.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> print(nn.ops.linear(jnp.array([-1.0, 2.0])))
    [-1.  2.]
    """
    return checks.array("linear", x)


def step(x: ArrayLike) -> jax.Array:
    """Heaviside step: any shape → the same shape. y = 1 where x > 0, else 0; 0 at 0. Derivative 0 everywhere.

    Args:
      x: floating-point; a NaN stays a NaN.

    Raises:
      TypeError: for integers.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> print(nn.ops.step(jnp.array([-2.0, 0.0, 0.5])))
    [0. 0. 1.]
    """
    x = floating("step", x)
    y = (x > 0).astype(x.dtype)
    return jnp.where(jnp.isnan(x), lax.stop_gradient(x), y)


@jax.custom_jvp
def _arctan(x: jax.Array) -> jax.Array:
    return jnp.arctan(x)


@_arctan.defjvp
def _arctan_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    # 1 / (1 + x²), beyond |x| = 1 in terms of 1/x: x² overflows (in float16 from 256 on), and then the second
    # derivative would be a NaN.
    (x,), (tangent,) = primals, tangents
    far = jnp.abs(x) > 1
    one = jnp.ones_like(x)
    small = jnp.where(far, one / jnp.where(far, x, one), x)
    square = small * small
    return _arctan(x), tangent * (jnp.where(far, square, one) / (one + square))


def arctan(x: ArrayLike) -> jax.Array:
    """Inverse tangent: any shape → the same shape, in (−π/2, π/2). y = arctan(x).

    Args:
      x: floating-point.

    Raises:
      TypeError: for integers.

    >>> import jax.numpy as jnp, jaxnn as nn, numpy as np
    >>> print(np.asarray(nn.ops.arctan(jnp.array([-1.0, 0.0, jnp.inf]))).round(3))
    [-0.785  0.     1.571]
    """
    y: jax.Array = _arctan(floating("arctan", x))
    return y


def prelu(x: ArrayLike, slope: ArrayLike) -> jax.Array:
    """Parametric ReLU: (..., C) → (..., C). y = x where x ≥ 0, else slope · x.

    Args:
      x: floating-point.
      slope: one value, (), or one per channel, (C,), of the dtype of ``x``.

    At 0 the derivative is 1, as for ``leaky_relu`` in JAX (in PyTorch it is the slope).

    Raises:
      TypeError: for integers or another dtype of the slope.
      ValueError: for a slope of another shape.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> print(nn.ops.prelu(jnp.array([[-4.0, -4.0], [2.0, 2.0]]), jnp.array([0.25, 0.5])))
    [[-1. -2.]
     [ 2.  2.]]

    He et al., "Delving deep into rectifiers", 2015.
    """
    x, slope = floating("prelu", x), floating("prelu", slope, "slope")
    same_dtype("prelu", x, slope=slope)
    if slope.shape not in ((), x.shape[-1:]):
        raise ValueError(
            f"prelu: slope must be one value, shape (), or one value per channel, shape {x.shape[-1:]}, "
            f"got shape {slope.shape}"
        )
    # Widened, because the slope's derivative is a sum over all of x.
    wide = x.astype(accumulator(x.dtype))
    slope = slope.astype(wide.dtype)
    if x.ndim > 2:
        # That sum is taken in two steps: within each example, then over the batch.
        slope = materialized(_copies(slope, (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1]), x))
    # The zeros have the sharding of x, which a select requires.
    below = jnp.zeros_like(wide) + _copies(slope, x.shape, x)
    factor = jnp.where(x >= 0, jnp.ones_like(wide), below)
    return (wide * factor).astype(x.dtype)


def _copies(a: jax.Array, shape: tuple[int, ...], like: jax.Array) -> jax.Array:
    """``a`` broadcast to ``shape``, and sharded as ``like``."""
    return jnp.broadcast_to(a, shape, out_sharding=sharding_as(like, shape))


def hard_shrink(x: ArrayLike, threshold: float = 0.5) -> jax.Array:
    """Replaces small values by 0: any shape → the same shape. y = x where |x| > threshold, else 0.

    Args:
      x: floating-point.
      threshold: ≥ 0.

    Raises:
      TypeError: for integers.
      ValueError: for a negative threshold.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> print(nn.ops.hard_shrink(jnp.array([-1.0, -0.5, 0.2, 2.0])))
    [-1.  0.  0.  2.]
    """
    x = floating("hard_shrink", x)
    level = checks.number("hard_shrink", "threshold", threshold, least=0)
    return jnp.where(jnp.abs(x) <= level, jnp.zeros_like(x), x)


def soft_shrink(x: ArrayLike, threshold: float = 0.5) -> jax.Array:
    """Moves values towards 0, up to 0: any shape → the same shape. y = sign(x) · max(|x| − threshold, 0).

    Args:
      x: floating-point.
      threshold: ≥ 0.

    Raises:
      TypeError: for integers.
      ValueError: for a negative threshold.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> print(nn.ops.soft_shrink(jnp.array([-1.0, -0.5, 0.25, 2.0])))
    [-0.5  0.   0.   1.5]
    """
    x = floating("soft_shrink", x)
    level = checks.number("soft_shrink", "threshold", threshold, least=0)
    return jnp.where(jnp.abs(x) <= level, jnp.zeros_like(x), x - level * jnp.sign(x))


def tanh_shrink(x: ArrayLike) -> jax.Array:
    """The rest after tanh: any shape → the same shape. y = x − tanh(x).

    Args:
      x: floating-point.

    Raises:
      TypeError: for integers.

    >>> import jax.numpy as jnp, jaxnn as nn, numpy as np
    >>> print(np.asarray(nn.ops.tanh_shrink(jnp.array([-1.0, 0.0, 2.0]))).round(3))
    [-0.238  0.     1.036]
    """
    y: jax.Array = _tanh_shrink(floating("tanh_shrink", x))
    return y


@jax.custom_jvp
def _tanh_shrink(x: jax.Array) -> jax.Array:
    return x - jnp.tanh(x)


@_tanh_shrink.defjvp
def _tanh_shrink_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    # tanh² and not 1 − (1 − tanh²), which loses all digits near 0.
    (x,), (tangent,) = primals, tangents
    y = jnp.tanh(x)
    return x - y, tangent * (y * y)


def threshold(x: ArrayLike, threshold: float, value: float) -> jax.Array:
    """Replaces values up to a threshold: any shape → the same shape. y = x where x > threshold, else value.

    Args:
      x: floating-point; a NaN stays a NaN.
      threshold: any number.
      value: what replaces values up to the threshold.

    Raises:
      TypeError: for integers.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> print(nn.ops.threshold(jnp.array([0.0, 1.0, 2.0]), 1.0, -7.0))
    [-7. -7.  2.]
    """
    x = floating("threshold", x)
    threshold = checks.number("threshold", "threshold", threshold, finite=False)
    value = checks.number("threshold", "value", value, finite=False)
    return jnp.where(x <= threshold, jnp.full_like(x, value), x)
