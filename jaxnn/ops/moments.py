"""Mean and variance over chosen axes, taken so that no digit is lost, and what every norm does with them.

Every statistic is taken in float32 at least and about a shift: of d = x − c, with c a first estimate of the
mean, mean = c + E[d] and var = E[d²] − E[d]². With c that close the difference cancels nothing, whereas
E[x²] − E[x]² has lost every digit once the mean is some thousand deviations. The result does not depend on c,
so that c needs no derivative.
"""

from collections.abc import Hashable, Sequence
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxnn.ops.checks import accumulator, floating

Axes = tuple[int, ...]


class Moments(NamedTuple):
    """x − mean; the mean; the biased variance. The reduced axes are kept, as ones."""

    centred: jax.Array
    mean: jax.Array
    var: jax.Array


def moments(x: jax.Array, axes: Axes, axis_name: Hashable | None = None, share: int = 1) -> Moments:
    """The moments over ``axes``; ``share`` neighbours of the last axis, then none of these, have the same."""
    x = widened(x)
    count = jnp.asarray(count_of(x, axes, axis_name) * share, x.dtype)

    def mean(values: jax.Array) -> jax.Array:
        total = jnp.sum(values, axes, keepdims=True)
        # Afterwards: a reduction that leaves whole rows of channels is many times faster on a CPU.
        total = total if share == 1 else _shared(total, share)
        return (total if axis_name is None else lax.psum(total, axis_name)) / count

    shift = lax.stop_gradient(mean(lax.stop_gradient(x)))
    shifted = x - shift
    rest = mean(shifted)
    var = mean(lax.square(shifted)) - lax.square(rest)
    # Rounding may leave −0.0000001 in a channel that is constant but for the last digit.
    return Moments(shifted - rest, shift + rest, jnp.where(var < 0, jnp.zeros_like(var), var))


def _shared(total: jax.Array, share: int) -> jax.Array:
    """Sums over ``share`` neighbours of the last axis, one for each of them."""
    groups = jnp.reshape(total, (*total.shape[:-1], total.shape[-1] // share, share))
    sums = jnp.broadcast_to(jnp.sum(groups, -1, keepdims=True), groups.shape)
    return jnp.reshape(sums, total.shape)


def finished(
    op: str,
    x: jax.Array,
    centred: jax.Array,
    var: jax.Array,
    axes: Axes,
    scale: ArrayLike | None,
    bias: ArrayLike | None,
    epsilon: float,
) -> jax.Array:
    """centred / √(var + ε) · scale + bias, where scale and bias span ``axes``, in the dtype of ``x``."""
    positive(op, epsilon)
    gain = lax.rsqrt(var + epsilon)
    if scale is None:
        y = centred * gain
    else:
        scale = fitted(op, "scale", scale, x, axes)
        # One pass less over x, unless the two span all axes between them: then so does their product.
        whole = jnp.broadcast_shapes(gain.shape, scale.shape) == x.shape
        y = centred * gain * scale if whole else centred * (gain * scale)
    if bias is not None:
        y = y + fitted(op, "bias", bias, x, axes)
    return y.astype(x.dtype)


def positive(op: str, epsilon: float) -> None:
    """Raises unless ``epsilon`` is positive, as far as its value is known."""
    if isinstance(epsilon, int | float) and not epsilon > 0:
        raise ValueError(f"{op}: epsilon must be positive, got {epsilon!r}")


def fitted(op: str, name: str, values: ArrayLike, x: jax.Array, axes: Axes) -> jax.Array:
    """``values``, which span the ``axes`` of ``x``, ready to be broadcast against it."""
    array = floating(op, values, name)
    expected = tuple(x.shape[axis] for axis in axes)
    if array.shape != expected:
        raise ValueError(f"{op}: {name} must have shape {expected} for x {x.shape}, got shape {array.shape}")
    if array.dtype not in (x.dtype, accumulator(x.dtype)):
        raise TypeError(_dtype_rule(op, name, array, x))
    return lax.expand_dims(widened(array), [axis for axis in range(x.ndim) if axis not in axes])


def trailing(op: str, name: str, values: ArrayLike, x: jax.Array) -> jax.Array:
    """``values``, which fit the last axes of ``x``, with as many axes as ``x``."""
    array = floating(op, values, name)
    sizes = x.shape[x.ndim - array.ndim :] if array.ndim <= x.ndim else None
    if sizes is None or any(size not in (1, wanted) for size, wanted in zip(array.shape, sizes, strict=True)):
        raise ValueError(f"{op}: {name} must fit the last axes of x {x.shape}, got shape {array.shape}")
    if array.dtype not in (x.dtype, accumulator(x.dtype)):
        raise TypeError(_dtype_rule(op, name, array, x))
    return lax.expand_dims(widened(array), range(x.ndim - array.ndim))


def _dtype_rule(op: str, name: str, array: jax.Array, x: jax.Array) -> str:
    wide = accumulator(x.dtype)
    other = "" if wide == x.dtype else f", or {wide}, which it is computed in"
    return f"{op}: {name} must be {x.dtype}, as x is{other}, got {array.dtype}; cast one of them"


def widened(x: jax.Array) -> jax.Array:
    return x.astype(accumulator(x.dtype))


def count_of(x: jax.Array, axes: Axes, axis_name: Hashable | None) -> Any:
    """How many values one statistic is taken over: an int, or a symbolic size."""
    here = prod(x.shape[axis] for axis in axes)
    return here if axis_name is None else here * lax.axis_size(axis_name)


def from_front(op: str, x: jax.Array, axes: int | Sequence[int]) -> Axes:
    """``axes`` counted from the front, in rising order."""
    given = (axes,) if isinstance(axes, int) else tuple(axes)
    if not all(-x.ndim <= axis < x.ndim for axis in given) or not given:
        raise ValueError(f"{op}: axes must be among the axes of x {x.shape}, got {axes}")
    result = tuple(sorted({axis % x.ndim for axis in given}))
    if len(result) != len(given):
        raise ValueError(f"{op}: axes must be different from each other, got {axes} for x {x.shape}")
    return result
