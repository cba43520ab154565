"""Pools as operations: the extreme of each window, and its sum.

The derivative of an extreme needs to know which value of its window each was. So there are three operations:
the extremes alone; the extremes with the numbers of these values, for when there is a derivative; and the
values at these numbers, which is linear, and the derivative. Only a primitive can have both a form per
platform and derivatives of its own, in both modes and of any order.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import ad

from jaxnn.kernels.lowering.operation import (
    apply,
    check_form,
    in_form,
    linear_operation,
    operation,
)
from jaxnn.kernels.pooling import by_axis
from jaxnn.kernels.pooling.forms import EXTREMES, FIRSTS, SUMS, TAKEN, Settings


@partial(jax.jit, static_argnums=1, inline=True)  # called outside of all tracing, this is faster
def extremes(x: jax.Array, settings: Settings) -> jax.Array:
    """The largest value of each window (the smallest, if the settings say so); NaN where one holds NaN.

    The derivative belongs to the first value that attains it, in row-major order of the window.
    """
    result: jax.Array = apply(_EXTREMES, x, settings=settings)
    return result


def firsts(x: jax.Array, settings: Settings) -> tuple[jax.Array, list[jax.Array]]:
    """The extremes and, for each pooled axis, which value of its window each is, for ``taken``."""
    y, *taps = apply(_FIRSTS, x, settings=settings)
    return y, taps


def taken(x: jax.Array, taps: list[jax.Array], settings: Settings) -> jax.Array:
    """The value of each window of ``x`` at the numbers that ``firsts`` found in another array."""
    result: jax.Array = apply(_TAKEN, x, *taps, settings=settings)
    return result


def sums(x: jax.Array, settings: Settings) -> jax.Array:
    """The sum of each window; padding adds 0."""
    result: jax.Array = apply(_SUMS, x, settings=settings)
    return result


def check_extremes(owner: str, x: jax.Array, settings: Settings) -> None:
    """Raises unless the settings name no form, or one of the extremes that fits."""
    check_form(owner, _EXTREMES, x, settings=settings)


def check_firsts(owner: str, x: jax.Array, settings: Settings) -> None:
    """Raises unless the settings name no form, or one of the extremes with their numbers that fits."""
    check_form(owner, _FIRSTS, x, settings=settings)


def check_sums(owner: str, x: jax.Array, settings: Settings) -> None:
    """Raises unless the settings name no form, or one of the sums that fits."""
    check_form(owner, _SUMS, x, settings=settings)


def _type(settings: Settings, x: Any, *taps: Any) -> Any:
    shape = list(x.shape)
    for axis, windows in settings.axes:
        shape[axis] = windows.count
    return x.update(shape=tuple(shape))


def _types(settings: Settings, x: Any) -> list[Any]:
    shape, taps = list(x.shape), []
    for axis, windows in reversed(settings.axes):
        shape[axis] = windows.count
        dtype = jnp.dtype(by_axis.tap_dtype(windows))
        taps.append(x.update(shape=tuple(shape), dtype=dtype, weak_type=False))
    return [x.update(shape=tuple(shape)), *reversed(taps)]


_EXTREMES = operation("pool_extremes", type_of=_type, forms=EXTREMES, read_as="slices")
_FIRSTS = operation("pool_firsts", type_of=_types, forms=FIRSTS, several=True)
_TAKEN = linear_operation("pool_taken", type_of=_type, forms=TAKEN)
_SUMS = linear_operation("pool_sums", type_of=_type, forms=SUMS, read_as="by_axis")


def _extremes_jvp(primals: Any, tangents: Any, **params: Any) -> Any:
    if params["settings"].implementation == "lax":  # whose derivative is lax's own
        return jax.jvp(lambda x: in_form(_EXTREMES, "lax", x, **params), primals, tangents)
    (y, *_), (d_y, *_) = _firsts_jvp(primals, tangents, **params)
    return y, d_y


def _firsts_jvp(primals: Any, tangents: Any, **params: Any) -> Any:
    y, *taps = _FIRSTS.bind(*primals, **params)
    mapped = tuple((True,) * (1 + len(taps)) for _ in params["mapped"])
    d_y = _TAKEN.bind(*tangents, *taps, settings=params["settings"], mapped=mapped)
    return [y, *taps], [d_y, *(ad.Zero(jax.typeof(tap).to_tangent_aval()) for tap in taps)]


ad.primitive_jvps[_EXTREMES] = _extremes_jvp
ad.primitive_jvps[_FIRSTS] = _firsts_jvp
