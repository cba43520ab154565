"""Activations x · gate(x) whose derivative jax.nn gets wrong at large x: gelu, silu, mish, hard silu.

``activation.py`` says how exact they are. They have one form: that half-precision values are computed in
float32 is what makes them exact, on every platform.
"""

from collections.abc import Callable
from functools import partial
from math import pi, sqrt
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxnn.kernels.dtypes import accumulator
from jaxnn.ops import checks
from jaxnn.ops.checks import floating


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
    y: jax.Array = _gated(lambda x: jnp.tanh(jax.nn.softplus(x)), 1000, floating("mish", x))
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
    y: jax.Array = _gated(jax.nn.hard_sigmoid, 1000, floating("hard_silu", x))
    return y
