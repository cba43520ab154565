"""Batch normalisation in training, with its own derivative: two sums a channel and one pass over x.

Automatic differentiation of the statistics also stores x − mean, and sums more than once.
"""

from collections.abc import Hashable
from functools import partial
from math import ceil
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.ops.moments import Axes, count_of, widened

#: The shift is the mean of at least one value in eight.
SAMPLED = 8


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def normalised(
    axes: Axes,
    axis_name: Hashable | None,
    x: jax.Array,
    scale: jax.Array | None,
    bias: jax.Array | None,
    epsilon: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(x − E[x]) · scale / √(Var[x] + ε) + bias, E[x] and Var[x], which keep the reduced axes as ones.

    ``scale`` and ``bias`` have as many axes as ``x`` and, like epsilon, the accumulator's dtype.
    """
    shift, rest, var = _statistics(axes, axis_name, x)
    y = (widened(x) - shift - rest) * _gain(scale, var, epsilon)
    return (y if bias is None else y + bias).astype(x.dtype), shift + rest, var


@normalised.defjvp
def _normalised_jvp(axes: Axes, axis_name: Hashable | None, primals: Any, tangents: Any) -> Any:
    x, scale, bias, epsilon = primals
    shift, rest, var = _statistics(axes, axis_name, x)

    # What this makes of x is made again in reverse mode, where it is read anyway, rather than stored.
    @partial(jax.checkpoint, prevent_cse=False)
    def linear(x: jax.Array, tangents: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        d_x, d_scale, d_bias, d_epsilon = tangents
        centred, wide = widened(x) - shift - rest, widened(d_x)
        d_mean = _mean(axes, axis_name, wide)
        d_var = 2 * _mean(axes, axis_name, wide * centred)
        gain, d_gain = jax.jvp(_gain, (scale, var, epsilon), (d_scale, d_var, d_epsilon))
        # What is the same for a whole channel stays apart: the transpose then sums the cotangent alone, not a
        # product of it that would be written out for that.
        d_bias = -d_mean * gain if bias is None else d_bias - d_mean * gain
        return (wide * gain + centred * d_gain + d_bias).astype(x.dtype), d_mean, d_var

    return normalised(axes, axis_name, *primals), linear(x, tangents)


def _gain(scale: jax.Array | None, var: jax.Array, epsilon: jax.Array) -> jax.Array:
    gain = lax.rsqrt(var + epsilon)
    return gain if scale is None else gain * scale


def _statistics(
    axes: Axes, axis_name: Hashable | None, x: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A shift c, E[x] − c, and the variance E[(x − c)²] − E[x − c]², in one reading of x.

    With c the mean of a share p of the values, E[x − c]² ≤ Var[x] · (1 − p) / p: whatever the values are, the
    difference loses no more than log₂(1/p) bits, and as a rule, c being close to the mean, none.
    """
    shift = lax.stop_gradient(_mean(axes, axis_name, widened(_sample(axes, x))))
    shifted = widened(x) - shift
    rest = _mean(axes, axis_name, shifted)
    var = _mean(axes, axis_name, lax.square(shifted)) - lax.square(rest)
    # Rounding may leave −0.0000001 in a channel that is constant but for the last digit.
    return shift, rest, jnp.where(var < 0, jnp.zeros_like(var), var)


def _sample(axes: Axes, x: jax.Array) -> jax.Array:
    """The first rows of every image; all values where there are no rows, or they are spread over devices."""
    size = x.shape[1] if 1 in axes else None
    if not isinstance(size, int) or jax.typeof(x).sharding.spec[1] is not None:
        return x
    return x[:, : ceil(size / SAMPLED)]


def _mean(axes: Axes, axis_name: Hashable | None, values: jax.Array) -> jax.Array:
    total = jnp.sum(values, axes, keepdims=True)
    count = jnp.asarray(count_of(values, axes, axis_name), values.dtype)
    return (total if axis_name is None else lax.psum(total, axis_name)) / count
