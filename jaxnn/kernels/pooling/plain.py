"""Pools by lax's own sliding windows, and by its reductions where a window is a whole axis."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import lax

from jaxnn.kernels.pooling.windows import Windows, neutral
from jaxnn.kernels.reduction.extremes import extreme

Axes = tuple[tuple[int, Windows], ...]


def extremes(x: jax.Array, axes: Axes, smallest: bool) -> jax.Array:
    """The largest (or smallest) value of each window."""
    if all(windows.is_whole for _, windows in axes):
        return _of_all(x, axes, smallest)
    return _of_windows(x, axes, smallest)


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _of_all(x: jax.Array, axes: Axes, smallest: bool) -> jax.Array:
    """By a reduction, in the derivative as if by windows: that of a reduction would split ties."""
    return extreme(x, tuple(axis for axis, _ in axes), smallest=smallest)


@_of_all.defjvp
def _of_all_jvp(axes: Axes, smallest: bool, primals: Any, tangents: Any) -> Any:
    _, tangent = jax.jvp(lambda x: _of_windows(x, axes, smallest), primals, tangents)
    return _of_all(*primals, axes, smallest), tangent


def _of_windows(x: jax.Array, axes: Axes, smallest: bool) -> jax.Array:
    with jax.debug_infs(False):  # the padding is infinite on purpose
        return _over_windows(x, neutral(x.dtype, smallest), lax.min if smallest else lax.max, axes)


def sums(x: jax.Array, axes: Axes) -> jax.Array:
    """The sum of each window."""
    return _over_windows(x, np.zeros((), x.dtype), lax.add, axes)


def _over_windows(x: jax.Array, start: Any, over: Callable[..., Any], axes: Axes) -> jax.Array:
    ones = [1] * x.ndim
    dims, strides, dilation, pads = ones.copy(), ones.copy(), ones.copy(), [(0, 0)] * x.ndim
    for axis, w in axes:
        dims[axis], strides[axis], dilation[axis] = w.window, w.stride, w.dilation
        pads[axis] = (w.low, w.reach)
    y: jax.Array = lax.reduce_window(x, start, over, dims, strides, pads, window_dilation=dilation)
    return y
