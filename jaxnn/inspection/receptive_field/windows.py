"""Sliding windows: each result depends on all that lies under its window."""

from functools import partial

import numpy as np
from jax.extend.core import JaxprEqn

from jaxnn.inspection.jaxprs import shape_of
from jaxnn.inspection.receptive_field.field import LOST, NOTHING, Array, Rule, Value, along, least, mapped


def _positions(
    out: int, window: int, size: int, stride: int = 1, dilation: int = 1, low: int = 0, gap: int = 1
) -> Array:
    """Which value of an axis is under each place of each window: (out, window), −1 for none.

    The axis has ``size`` values, ``gap`` apart, after ``low`` places of padding.
    """
    places = stride * np.arange(out)[:, None] + dilation * np.arange(window) - low
    index, rest = np.divmod(places, gap)
    return np.where((rest == 0) & (index >= 0) & (index < size), index, -1)


def _windows(value: Value, positions: dict[int, Array]) -> Value:
    """The field of what is made of all values under a window, axis by axis."""
    for axis, at in positions.items():
        value = mapped(partial(_windows_along, axis=axis, at=at), value)
    return value


def _windows_along(end: Array, axis: int, at: Array) -> Array:
    if end.shape[axis] == 1 and (at >= 0).any(axis=1).all():
        return end
    full = np.broadcast_to(
        end, [*end.shape[:axis], max(end.shape[axis], at.max() + 1), *end.shape[axis + 1 :]]
    )
    taps = [np.where(along(tap >= 0, axis, end.ndim), np.take(full, tap, axis), NOTHING) for tap in at.T]
    return least(taps)


def _pad(eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    operand, filler = values
    if isinstance(filler, tuple):
        return [LOST]
    shapes = zip(shape_of(eqn.outvars[0]), shape_of(eqn.invars[0]), eqn.params["padding_config"], strict=True)
    padded = {
        axis: _positions(out, 1, size, low=low, gap=inner + 1)
        for axis, (out, size, (low, high, inner)) in enumerate(shapes)
        if low or high or inner
    }
    return [_windows(operand, padded)]


def _reduce_window(eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    names = ("window_dimensions", "window_strides", "window_dilation", "padding", "base_dilation")
    settings = zip(
        shape_of(eqn.outvars[0]),
        shape_of(eqn.invars[0]),
        *(eqn.params[name] for name in names),
        strict=True,
    )
    positions = {
        axis: _positions(out, k, size, s, d, low, gap)
        for axis, (out, size, k, s, d, (low, _), gap) in enumerate(settings)
        if k > 1 or s > 1 or gap > 1 or out != size
    }
    return [_windows(values[0], positions)]


def _channels(value: Value, axis: int, groups: int, out: int) -> Value:
    """Every channel of a group depends on all of the group."""

    def joined(a: Array) -> Array:
        if a.shape[axis] == 1:
            return a
        parts = np.split(a, groups, axis)
        least = [part.min(axis=axis, keepdims=True) for part in parts]
        return least[0] if groups == 1 else np.repeat(np.concatenate(least, axis), out // groups, axis)

    return mapped(joined, value)


def _batch_groups(value: Value, groups: int, out: int) -> Value:
    """Each group of the batch gives output channels of its own; the input channels are joined already."""

    def apart(a: Array) -> Array:
        if groups == 1 or len(a) == 1:
            return a
        split = a.reshape(groups, -1, *a.shape[2:])
        return np.repeat(np.swapaxes(split, 0, 1), out // groups, 1)

    return mapped(apart, value)


def _convolution(eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    params = eqn.params
    if not isinstance(values[0], tuple) or isinstance(values[1], tuple):
        return [LOST]
    x, kernel, y = (shape_of(v) for v in (*eqn.invars, eqn.outvars[0]))
    numbers = params["dimension_numbers"]
    value = mapped(lambda a: np.transpose(a, numbers.lhs_spec), values[0])
    positions = {
        axis + 2: _positions(
            y[numbers.out_spec[axis + 2]], kernel[numbers.rhs_spec[axis + 2]], x[numbers.lhs_spec[axis + 2]],
            params["window_strides"][axis], params["rhs_dilation"][axis], params["padding"][axis][0],
            params["lhs_dilation"][axis],
        )
        for axis in range(len(x) - 2)
    }  # fmt: skip
    out = y[numbers.out_spec[1]]
    value = _channels(_windows(value, positions), 1, params["feature_group_count"], out)
    value = _batch_groups(value, params["batch_group_count"], out)
    return [mapped(lambda a: np.transpose(a, np.argsort(numbers.out_spec)), value)]


RULES: dict[str, Rule] = {
    **dict.fromkeys(("reduce_window_max", "reduce_window_min", "reduce_window_sum"), _reduce_window),
    "conv_general_dilated": _convolution,
    "pad": _pad,
}
