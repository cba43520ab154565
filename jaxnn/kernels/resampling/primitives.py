"""Resampling as operations, and their forms by platform.

Copying each value a whole number of times has a transpose, the sums of blocks, that XLA for CPUs computes
fast by slices only. All else gathers, on every platform and in both directions; the form "lax" has the
transpose that JAX derives.
"""

from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.kernels.choice import Form
from jaxnn.kernels.lowering.linear_map import with_transpose
from jaxnn.kernels.lowering.operation import apply, check_form, linear_operation
from jaxnn.kernels.lowering.primitive import DEFAULT, Problem
from jaxnn.kernels.pooling import blocks
from jaxnn.kernels.pooling.windows import MOST_SLICES
from jaxnn.kernels.resampling.gathers import gathered, take, weighted_sum
from jaxnn.kernels.resampling.taps import Taps, taps


class Copies(NamedTuple):
    """How many times each value is repeated, by the number of the axis; and the form of the transpose."""

    times: tuple[tuple[int, int], ...]
    implementation: str | None = None


class Resampling(NamedTuple):
    """At how many positions to resample each axis, by its number and in this order, and how; and the form."""

    sizes: tuple[tuple[int, int], ...]
    method: str
    align_corners: bool
    antialias: bool
    cubic_coefficient: float
    implementation: str | None = None


@partial(jax.jit, static_argnums=1, inline=True)  # called outside of all tracing, this is faster
def copies(x: jax.Array, settings: Copies) -> jax.Array:
    """Each value repeated so many times along each axis."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return blocks.copies(x, dict(settings.times))
    result: jax.Array = apply(_COPIES, x, settings=settings)
    return result


@partial(jax.jit, static_argnums=1, inline=True)
def resampled(x: jax.Array, settings: Resampling) -> jax.Array:
    """``x`` with some axes resampled."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        for axis, table in _tables(x, settings).items():
            x = take(x, axis, table.source[0])
        return x
    result: jax.Array = apply(_RESAMPLED, x, settings=settings)
    return result


def check_copies(owner: str, x: jax.Array, settings: Copies) -> None:
    """Raises unless the settings name no form, or one that fits."""
    check_form(owner, _COPIES, x, settings=settings)


def check_resampled(owner: str, x: jax.Array, settings: Resampling) -> None:
    """Raises unless the settings name no form, or one that fits."""
    check_form(owner, _RESAMPLED, x, settings=settings)


def _tables(x: Any, s: Resampling) -> dict[int, Taps]:
    how = s.align_corners, s.antialias, s.cubic_coefficient
    return {axis: taps(s.method, x.shape[axis], out, *how) for axis, out in s.sizes}


def _type_of_copies(settings: Copies, x: Any) -> Any:
    shape = list(x.shape)
    for axis, times in settings.times:
        shape[axis] *= times
    return x.update(shape=tuple(shape))


def _type_of_resampled(settings: Resampling, x: Any) -> Any:
    shape = list(x.shape)
    for axis, out in settings.sizes:
        shape[axis] = out
    return x.update(shape=tuple(shape))


def _copies_by_slices(p: Problem, x: jax.Array) -> jax.Array:
    times = dict(p.settings.times)
    sizes = {axis: x.shape[axis] * n for axis, n in times.items()}
    return with_transpose(x, sizes, lambda v: blocks.copies(v, times), lambda v: blocks.sums(v, times))


def _few(p: Problem) -> bool:
    return prod(times for _, times in p.settings.times) <= MOST_SLICES


def _plain_copies(p: Problem, x: jax.Array) -> jax.Array:
    return blocks.copies(x, dict(p.settings.times))


def _by_gathers(p: Problem, x: jax.Array) -> jax.Array:
    return weighted_sum(x, _tables(x, p.settings))


def _plain(p: Problem, x: jax.Array) -> jax.Array:
    return gathered(x, _tables(x, p.settings))


_SLICES = Form("slices", _copies_by_slices, _few, needs=f"at most {MOST_SLICES} copies of a value")
_COPIED = Form("lax", _plain_copies)
_COPIES = linear_operation(
    "copies", type_of=_type_of_copies, forms={"cpu": (_SLICES, _COPIED), DEFAULT: (_COPIED, _SLICES)}
)
_GATHERS = (Form("gathers", _by_gathers), Form("lax", _plain))
_RESAMPLED = linear_operation(
    "resampled", type_of=_type_of_resampled, forms={"cpu": _GATHERS, DEFAULT: _GATHERS}
)
