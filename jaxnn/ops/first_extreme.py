"""The maximum or minimum of each window, whose derivative belongs to the first value that attains it."""

from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxnn.ops.pool_windows import AnyWindows, Windows, along, few, inside, slices, unfold


def ordered(op: str, x: ArrayLike) -> jax.Array:
    """``x`` as a JAX array; raises unless its values have an order."""
    array = jnp.asarray(x)
    kinds = (jnp.floating, jnp.integer, jnp.bool_)
    if not any(jnp.issubdtype(array.dtype, kind) for kind in kinds):
        raise TypeError(f"{op}: x must be floating-point, integer or boolean, got {array.dtype}")
    return array


@partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def extreme(x: jax.Array, axis: int, windows: AnyWindows, smallest: bool) -> jax.Array:
    """The largest (or smallest) value of each window on one axis; NaN where a window holds one."""
    if isinstance(windows, Windows) and few(windows):
        taps = slices(x, {axis: windows}, _never(x.dtype, smallest))
        return reduce(lax.min if smallest else lax.max, taps)
    over = jnp.min if smallest else jnp.max
    return over(unfold(x, axis, windows), axis=axis + 1)


@extreme.defjvp
def _extreme_jvp(
    axis: int, windows: AnyWindows, smallest: bool, primals: tuple[Any], tangents: tuple[Any]
) -> tuple[jax.Array, jax.Array]:
    (x,), (dx,) = primals, tangents
    y = extreme(x, axis, windows, smallest)
    return y, at_first(x, y, dx, axis, windows)


def at_first(x: jax.Array, y: jax.Array, carried: jax.Array, axis: int, windows: AnyWindows) -> jax.Array:
    """``carried`` where each window of ``x`` first attains ``y``, its extreme. Linear in ``carried``.

    Pooling the last axis first makes this the first in row-major order: the first row that attains the
    extreme, and in it the first column.
    """
    real = inside(windows)
    if isinstance(windows, Windows) and few(windows):
        zero, nothing = jnp.zeros((), x.dtype), jnp.zeros((), carried.dtype)
        values = list(slices(x, {axis: windows}, zero))
        *earlier, result = slices(carried, {axis: windows}, nothing)
        for tap in reversed(range(len(earlier))):  # so that an earlier hit overwrites a later one
            hit = _attains(values[tap], y)
            if not real[:, tap].all():
                hit &= along(real[:, tap], (axis,), y, jnp.bool_)
            result = jnp.where(hit, earlier[tap], result)
        return result
    hits = _attains(unfold(x, axis, windows), jnp.expand_dims(y, axis + 1))
    first = jnp.expand_dims(lax.argmax(hits, axis + 1, jnp.int32), axis + 1)
    chosen = lax.broadcasted_iota(jnp.int32, hits.shape, axis + 1) == first
    copies = unfold(carried, axis, windows)
    kept = jnp.where(chosen, copies, jnp.zeros_like(copies))
    return jnp.sum(kept, axis=axis + 1, dtype=carried.dtype)


def _attains(value: jax.Array, y: jax.Array) -> jax.Array:
    """Whether this value is its window's extreme. A NaN always is: equality alone would find it nowhere."""
    return (value == y) | (value != value)


def _never(dtype: jnp.dtype, smallest: bool) -> jax.Array:
    """The value that no maximum (or minimum) is changed by."""
    if dtype == jnp.bool_:
        return jnp.asarray(smallest)
    if jnp.issubdtype(dtype, jnp.integer):
        info = jnp.iinfo(dtype)  # type: ignore[no-untyped-call]
        return jnp.asarray(info.max if smallest else info.min, dtype)
    return jnp.asarray(jnp.inf if smallest else -jnp.inf, dtype)
