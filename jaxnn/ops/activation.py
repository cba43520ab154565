"""Activations: those of jax.nn re-exported, the rest, and the few whose derivative jax.nn gets wrong.

Every derivative is finite wherever its limit is: at 0, at large values of either sign and at ±∞. A NaN stays
a NaN. Everything keeps the dtype of its input.

Accuracy: values and first derivatives of what is written here are right to a few roundings over the whole
range, except close to where they cross 0. Limits: numbers below the smallest normal one count as 0 on CPUs,
in and out; ``tanh_shrink``, a difference, is right to a rounding of x; the derivatives of what jax.nn has
(``elu``, ``selu``, ``celu``, ``sigmoid``, ``tanh``) are right to a rounding of 1, so that their tails, below
6e-8 in float32, are lost.
"""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from math import pi, sqrt
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import (
    celu,
    elu,
    glu,
    hard_sigmoid,
    hard_tanh,
    leaky_relu,
    log_sigmoid,
    log_softmax,
    relu,
    relu6,
    selu,
    sigmoid,
    softplus,
    tanh,
)
from jax.typing import ArrayLike

from jaxnn.kernels.dtypes import accumulator
from jaxnn.kernels.lowering.fusion import stored
from jaxnn.kernels.lowering.varying import sharding_as
from jaxnn.kernels.reduction import extreme, many_rows, total
from jaxnn.ops import checks
from jaxnn.ops.checks import floating, same_dtype

__all__ = [
    "arctan",
    "celu",
    "elu",
    "gelu",
    "glu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_tanh",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "maxout",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "soft_shrink",
    "soft_sign",
    "softmax",
    "softmin",
    "softplus",
    "sparsemax",
    "step",
    "tanh",
    "tanh_shrink",
    "threshold",
]


# x · gate(x), of jax.nn, differentiates to gate(x) + x · gate'(x), and at x = ±∞ the second term is ∞ · 0, a
# NaN; jax.nn.gelu has it wherever x² or x³ overflows, in float16 from 256 on. Beyond ``bound`` the gate has
# reached its limits to the last bit, 0 on the left. The derivative shares the gate with the value.
# Computed in float32 at least: in float16 the gate, and within it the exponential, leaves the range first.
@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _gated(gate: Callable[[jax.Array], jax.Array], bound: float, x: jax.Array) -> jax.Array:
    high = jnp.maximum(x.astype(accumulator(x.dtype)), -bound)
    return (high * gate(high)).astype(x.dtype)


@_gated.defjvp
def _gated_jvp(gate: Callable[[jax.Array], jax.Array], bound: float, primals: Any, tangents: Any) -> Any:
    (x,), (tangent,) = primals, tangents
    x = jnp.asarray(x)  # a number that is differentiated comes as a float
    high = jnp.maximum(x.astype(accumulator(x.dtype)), -bound)
    near = jnp.minimum(high, bound)
    value, slope = jax.jvp(gate, (near,), (jnp.ones_like(near),))
    return (high * value).astype(x.dtype), tangent * (value + near * slope).astype(x.dtype)


def _twice_normal(half: jax.Array) -> jax.Array:
    """2 Φ(2 · half); halving Φ instead would lose its smallest values."""
    return lax.erfc(half * -sqrt(2))


def _nearly_normal(x: jax.Array) -> jax.Array:
    """(1 + tanh u) / 2, which is σ(2u): from x = −5.2 on tanh is −1 in float32, and the sum is 0."""
    return jax.nn.sigmoid(sqrt(8 / pi) * (x + 0.044715 * (x * x * x)))


def gelu(x: ArrayLike, approximate: bool = True) -> jax.Array:
    """Gaussian error linear unit: any shape → the same shape.

    y = x · Φ(x), Φ the standard normal distribution; by default the approximation
    x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))), as in JAX. PyTorch's default is the exact Φ.

    Equal to ``jax.nn.gelu``, except in the tail, which ``jax.nn`` rounds to −0 (in float32 from −5.2 on,
    where y is −5e-7), and in the derivative, there a NaN at ±∞ and, in float16, already from ±256 on.

    Args:
      x: floating-point.
      approximate: False for the exact Φ.

    Raises:
      TypeError: for integers.

    >>> import jax, jax.numpy as jnp, jaxnn as nn, numpy as np
    >>> print(np.asarray(nn.ops.gelu(jnp.array([-1.0, 0.0, 1.0]))).round(3))
    [-0.159  0.     0.841]
    >>> print(jax.grad(nn.ops.gelu)(jnp.inf))
    1.0

    Hendrycks and Gimpel, "Gaussian error linear units", 2016.
    """
    x = floating("gelu", x)
    checks.flags("gelu", approximate=approximate)
    y: jax.Array = _gated(_nearly_normal, 22, x) if approximate else _gated(_twice_normal, 32, x / 2)
    return y


def silu(x: ArrayLike) -> jax.Array:
    """Sigmoid linear unit, also called swish: any shape → the same shape. y = x · σ(x).

    Equal to ``jax.nn.silu``, which has no derivative at ±∞ and gives a NaN at −∞.

    Args:
      x: floating-point.

    Raises:
      TypeError: for integers.

    >>> import jax.numpy as jnp, jaxnn as nn, numpy as np
    >>> print(np.asarray(nn.ops.silu(jnp.array([-jnp.inf, -1.0, 0.0, 1.0]))).round(3))
    [-0.    -0.269  0.     0.731]

    Elfwing, Uchibe and Doya, "Sigmoid-weighted linear units", 2017.
    """
    y: jax.Array = _gated(jax.nn.sigmoid, 1000, floating("silu", x))
    return y


def mish(x: ArrayLike) -> jax.Array:
    """Mish: any shape → the same shape. y = x · tanh(log(1 + eˣ)).

    Equal to ``jax.nn.mish``, which has no derivative at ±∞ and gives a NaN at −∞.

    Args:
      x: floating-point.

    Raises:
      TypeError: for integers.

    >>> import jax.numpy as jnp, jaxnn as nn, numpy as np
    >>> print(np.asarray(nn.ops.mish(jnp.array([-jnp.inf, -1.0, 0.0, 1.0]))).round(3))
    [-0.    -0.303  0.     0.865]

    Misra, "Mish: a self regularized non-monotonic activation function", 2019.
    """
    y: jax.Array = _gated(lambda x: jnp.tanh(softplus(x)), 1000, floating("mish", x))
    return y


def hard_silu(x: ArrayLike) -> jax.Array:
    """Piecewise silu, also called hard swish: any shape → the same shape. y = x · min(max(x + 3, 0), 6) / 6.

    Equal to ``jax.nn.hard_silu``, which has no derivative at ±∞ and gives a NaN at −∞.

    Args:
      x: floating-point.

    Raises:
      TypeError: for integers.

    >>> import jax.numpy as jnp, jaxnn as nn, numpy as np
    >>> print(np.asarray(nn.ops.hard_silu(jnp.array([-jnp.inf, -1.0, 0.0, 1.0, 4.0]))).round(3))
    [-0.    -0.333  0.     0.667  4.   ]

    Howard et al., "Searching for MobileNetV3", 2019.
    """
    y: jax.Array = _gated(hard_sigmoid, 1000, floating("hard_silu", x))
    return y


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
            f"prelu: slope must be one value, shape (), or one a channel, shape {x.shape[-1:]}, got shape "
            f"{slope.shape}"
        )
    # Widened, because the slope's derivative is a sum over all of x.
    wide = x.astype(accumulator(x.dtype))
    slope = slope.astype(wide.dtype)
    if x.ndim > 2:
        # That sum is taken in two steps: within each example, then over the batch.
        slope = stored(_copies(slope, (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1]), x))
    # The zeros have the sharding of x, which a select requires.
    below = jnp.zeros_like(wide) + _copies(slope, x.shape, x)
    factor = jnp.where(x >= 0, jnp.ones_like(wide), below)
    return (wide * factor).astype(x.dtype)


def _copies(a: jax.Array, shape: tuple[int, ...], like: jax.Array) -> jax.Array:
    """``a`` broadcast to ``shape``, and sharded as ``like``."""
    return jnp.broadcast_to(a, shape, out_sharding=sharding_as(like, shape))


def maxout(x: ArrayLike, pieces: int, axis: int = -1) -> jax.Array:
    """The largest of each group of ``pieces`` channels: (..., C) → (..., C // pieces).

    y[c] = max of x[c · pieces + j] over 0 ≤ j < pieces: the pieces of one output are adjacent. Values
    that tie for the maximum share its gradient evenly.

    Args:
      x: floating-point.
      pieces: the number of values per output, ≥ 1; must divide C.
      axis: the axis of the channels.

    Raises:
      TypeError: for integers.
      ValueError: if ``pieces`` is below 1 or does not divide C, or for an axis that is not there.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> print(nn.ops.maxout(jnp.array([[1.0, 5.0, 4.0, 2.0]]), 2))
    [[5. 4.]]

    Goodfellow et al., "Maxout networks", 2013.
    """
    x = floating("maxout", x)
    axis = checks.axis("maxout", axis, x.shape)
    pieces = checks.integer("maxout", "pieces", pieces, least=1)
    if x.shape[axis] % pieces:
        raise ValueError(
            f"maxout: pieces must be at least 1 and divide the channels, got {pieces} for {x.shape[axis]} "
            "channels"
        )
    split = (*x.shape[:axis], x.shape[axis] // pieces, pieces, *x.shape[axis + 1 :])
    # A CPU would convert half-precision values for every comparison.
    y: jax.Array = _largest(axis + 1, jnp.reshape(x.astype(accumulator(x.dtype)), split))
    return y.astype(x.dtype)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _largest(axis: int, x: jax.Array) -> jax.Array:
    """The largest along a short axis."""
    return _joined(jnp.maximum, axis, x)


@_largest.defjvp
def _largest_jvp(axis: int, primals: Any, tangents: Any) -> Any:
    (x,), (tangent,) = primals, tangents
    y = stored(_largest(axis, x))
    taken = x == jnp.expand_dims(y, axis)
    ties = stored(_joined(jnp.add, axis, taken.astype(x.dtype)))
    # A sum instead of slices: its transpose is a copy, not pads.
    of_taken = jnp.sum(jnp.where(taken, tangent, jnp.zeros_like(tangent)), axis)
    return y, stored(of_taken) / ties


def _joined(function: Callable[[jax.Array, jax.Array], jax.Array], axis: int, x: jax.Array) -> jax.Array:
    """Reduces ``axis`` slice by slice where it is short: a CPU reduces along a short last axis slowly."""
    if x.shape[axis] > 4:
        over = extreme if function is jnp.maximum else total
        return lax.squeeze(over(x, (axis,)), (axis,))
    return reduce(function, (lax.index_in_dim(x, i, axis, keepdims=False) for i in range(x.shape[axis])))


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


def softmax(x: ArrayLike, axis: int | Sequence[int] | None = -1, where: ArrayLike | None = None) -> jax.Array:
    """``jax.nn.softmax``: any shape → the same shape. yᵢ = exp(xᵢ) / Σⱼ exp(xⱼ).

    Args:
      x: floating-point.
      axis: the axis, or axes, that sum to 1; None for all.
      where: booleans, broadcast to ``x``: what is False is left out of the sum and gives 0; a row that is all
        False gives zeros.

    >>> import jax.numpy as jnp, jaxnn as nn, numpy as np
    >>> print(np.asarray(nn.ops.softmax(jnp.array([0.0, 1.0, -1e4]))).round(3))
    [0.269 0.731 0.   ]
    """
    x = floating("softmax", x)
    axes = None if axis is None else checks.axes("softmax", axis, x.shape, "axis")
    if where is None and axes == (x.ndim - 1,) and many_rows(x, axes):
        y: jax.Array = _softmax_of_rows(x)
    else:
        with jax.debug_infs(False):  # its maximum begins at −∞
            y = jax.nn.softmax(x, axes, _kept("softmax", where, x))
    return y


def _kept(op: str, where: ArrayLike | None, x: jax.Array) -> jax.Array | None:
    """``where`` as an array; raises unless it is boolean and can be broadcast to ``x``."""
    if where is None:
        return None
    mask = checks.array(op, where, "where")
    if mask.dtype != jnp.bool_:
        raise TypeError(f"{op}: where must be boolean, got {mask.dtype}")
    sizes = zip(reversed(mask.shape), reversed(x.shape), strict=False)
    if mask.ndim > x.ndim or not all(size in (1, whole) for size, whole in sizes):
        raise ValueError(f"{op}: where must fit x {x.shape}, got shape {mask.shape}")
    return mask


@jax.custom_jvp
def _softmax_of_rows(x: jax.Array) -> jax.Array:
    y: jax.Array = jax.nn.softmax(x)
    return y


@_softmax_of_rows.defjvp
def _softmax_of_rows_jvp(primals: Any, tangents: Any) -> Any:
    # Stored values are not computed again, and a CPU's library then does both passes a few rows at a time.
    y = stored(_softmax_of_rows(*primals))
    (tangent,) = tangents
    return y, y * (tangent - jnp.sum(y * tangent, -1, keepdims=True))


def softmin(x: ArrayLike, axis: int | Sequence[int] = -1, where: ArrayLike | None = None) -> jax.Array:
    """Softmax of −x: any shape → the same shape. yᵢ = exp(−xᵢ) / Σⱼ exp(−xⱼ).

    Args:
      x: floating-point.
      axis: the axis, or axes, that sum to 1.
      where: booleans, broadcast to ``x``: what is False is left out of the sum and gives 0; a row that is all
        False gives zeros.

    Raises:
      TypeError: for integers.

    >>> import jax.numpy as jnp, jaxnn as nn, numpy as np
    >>> print(np.asarray(nn.ops.softmin(jnp.array([0.0, 1.0, 1e4]))).round(3))
    [0.731 0.269 0.   ]
    """
    x = floating("softmin", x)
    axes = checks.axes("softmin", axis, x.shape, "axis")
    y: jax.Array = softmax(-x, axes, _kept("softmin", where, x))
    return y


def sparsemax(x: ArrayLike, axis: int = -1) -> jax.Array:
    """The nearest probability vector: any shape → the same shape. Like softmax, but with exact zeros.

    y = argmin ‖p − x‖² over p ≥ 0, Σ p = 1, which is yᵢ = max(xᵢ − τ, 0) with the τ that makes the sum 1.
    With S the places where y > 0, the derivative is ∂yᵢ/∂xⱼ = [i = j] − 1/|S| for i and j in S, else 0.

    Args:
      x: floating-point.
      axis: the axis that sums to 1.

    Raises:
      TypeError: for integers.
      ValueError: for an axis that is not there.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> print(nn.ops.sparsemax(jnp.array([1.0, 0.75, -1.0])))
    [0.625 0.375 0.   ]

    Martins and Astudillo, "From softmax to sparsemax", 2016.
    """
    x = floating("sparsemax", x)
    axis = checks.axis("sparsemax", axis, x.shape)
    # Adding a constant to all values changes nothing; with the largest at 0 the sums lose no digits.
    wide = x.astype(accumulator(x.dtype))
    z = wide - lax.stop_gradient(jnp.max(wide, axis, keepdims=True))
    fixed = lax.stop_gradient(z)
    falling = jnp.sort(fixed, axis, descending=True)
    rank = lax.broadcasted_iota(z.dtype, z.shape, axis) + 1
    inside = 1 + rank * falling > jnp.cumsum(falling, axis)
    least = jnp.min(falling, axis, keepdims=True, initial=jnp.inf, where=inside)
    # Which places are in S is locally constant; given S, τ is linear in x, and so the derivative is right.
    zero, outside = jnp.zeros_like(z), fixed < least
    size = jnp.sum((~outside).astype(z.dtype), axis, keepdims=True)
    tau = (jnp.sum(jnp.where(outside, zero, z), axis, keepdims=True) - 1) / size
    return jnp.where(outside, zero, z - tau).astype(x.dtype)
