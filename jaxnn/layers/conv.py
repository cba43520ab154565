"""Convolutional layers: grouped and depthwise, over any number of spatial axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from jaxnn.entries import Entries, Entry, Size, repeated
from jaxnn.layer import Layer, Stream, constructor, stateless
from jaxnn.layers.initialisers import HE_NORMAL, ZEROS
from jaxnn.layers.weights import kernel_and_bias
from jaxnn.ops import checks, windows
from jaxnn.ops.conv import conv as conv_op
from jaxnn.ops.sequences import places, real_only
from jaxnn.ops.windows import Ints, Padding
from jaxnn.ops.windows_over_time import fitted
from jaxnn.params import Key, Params, Weights
from jaxnn.sequences import Sequences, takes_lengths, with_lengths, without_carry


@constructor
def conv(
    features: int,
    window: Ints,
    *,
    strides: Ints = 1,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    groups: int = 1,
    bias: bool = True,
    kernel_init: Initializer = HE_NORMAL,
    bias_init: Initializer = ZEROS,
) -> Layer:
    """Convolution over any number of spatial axes: ``(N, *space, C) → (N, *out, features)``.

    Weights: ``kernel (*window, C // groups, features)`` and, with ``bias=True``, ``bias (features,)``. The
    settings are described in ``nn.ops.conv``.

    Of ``(x, lengths)``, with time as the first spatial axis, the result is ``(y, lengths)``, as of each
    sequence alone: past its end there is padding, and as many outputs are real as the sequence would have.

    Args:
      features: the number of output channels.
      window: the kernel's size: an int (for every spatial axis the input has), or one per axis.
      strides: the step between windows, as ``window``.
      padding: a name, an int, one int per axis or one (low, high) pair per axis; none by default.
      dilation: the distance between the window's values, as ``window``.
      groups: blocks of channels that do not see each other; divides ``features`` and C.
      bias: whether to add a bias.
      kernel_init: any function of (key, shape, dtype), such as those of ``jax.nn.initializers``. Their
        fan-in is C // groups times the values of a window.
      bias_init: the same for the bias.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.conv(8, 3, strides=2, padding="SAME"), (1, 28, 28, 1))
    (1, 14, 14, 8)
    """
    features = checks.integer("conv", "features", features, least=1)
    groups = checks.integer("conv", "groups", groups, least=1)
    checks.groups_divide("conv", groups, "features", features)
    check_settings("conv", window, strides, padding, dilation)
    checks.flags("conv", bias=bias)
    checks.initialisers("conv", kernel_init=kernel_init, bias_init=bias_init)

    def init(key: Key, x: Any) -> Weights:
        taps = window_for("conv", x, window, strides, padding, dilation)
        checks.groups_divide("conv", groups, "channels of x", x.shape[-1])
        shape = (*taps, x.shape[-1] // groups, features)
        return kernel_and_bias(
            "conv", key, x.dtype, shape, kernel_init, (features,) if bias else None, bias_init
        )

    def run(weights: Weights, x: Any, padding: Padding) -> jax.Array:
        return conv_op(
            x,
            weights["kernel"],
            weights["bias"] if bias else None,
            strides=strides,
            padding=padding,
            dilation=dilation,
            groups=groups,
        )

    entries = {"kernel": kernel_shape(window, "C", features), **({"bias": (features,)} if bias else {})}
    return _over_space("conv", init, run, entries, strides, padding, dilation)


@constructor
def depthwise_conv(
    window: Ints,
    *,
    multiplier: int = 1,
    strides: Ints = 1,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    bias: bool = True,
    kernel_init: Initializer = HE_NORMAL,
    bias_init: Initializer = ZEROS,
) -> Layer:
    """Each channel convolved on its own: ``(N, *space, C) → (N, *out, C · multiplier)``.

    Output channels c · multiplier … (c + 1) · multiplier − 1 come from input channel c. Weights: ``kernel
    (*window, 1, C · multiplier)`` and, with ``bias=True``, ``bias (C · multiplier,)``. The settings are those
    of ``nn.conv``; the fan-in is the values of one window.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.depthwise_conv(3, multiplier=2), (1, 28, 28, 4))
    (1, 26, 26, 8)
    """
    multiplier = checks.integer("depthwise_conv", "multiplier", multiplier, least=1)
    check_settings("depthwise_conv", window, strides, padding, dilation)
    checks.flags("depthwise_conv", bias=bias)
    checks.initialisers("depthwise_conv", kernel_init=kernel_init, bias_init=bias_init)

    def init(key: Key, x: Any) -> Weights:
        taps = window_for("depthwise_conv", x, window, strides, padding, dilation)
        features = x.shape[-1] * multiplier
        shape = (*taps, 1, features)
        return kernel_and_bias(
            "depthwise_conv", key, x.dtype, shape, kernel_init, (features,) if bias else None, bias_init
        )

    def run(weights: Weights, x: Any, padding: Padding) -> jax.Array:
        groups, rest = divmod(weights["kernel"].shape[-1], multiplier)
        if rest:
            raise ValueError(
                "depthwise_conv: params of another net: kernel must have a multiple of "
                f"multiplier={multiplier} output channels, got shape {weights['kernel'].shape}"
            )
        return conv_op(
            x,
            weights["kernel"],
            weights["bias"] if bias else None,
            strides=strides,
            padding=padding,
            dilation=dilation,
            groups=groups,
        )

    entries = {"kernel": kernel_shape(window, 1, "C"), **({"bias": ("C",)} if bias else {})}
    return _over_space("depthwise_conv", init, run, entries, strides, padding, dilation)


def _over_space(
    name: str,
    init: Callable[[Key, Any], Weights],
    run: Callable[[Weights, Any, Padding], jax.Array],
    entries: Entries,
    strides: Ints,
    padding: Padding,
    dilation: Ints,
) -> Layer:
    """A layer around ``run(weights, x, padding)``: what all convolutions share."""

    def of_sequences(weights: Weights, given: Sequences) -> Any:
        x, lengths = without_carry(name, given)
        if lengths is None:
            return run(weights, x, padding)
        checks.spatial(name, x)
        taps = weights["kernel"].shape[:-2]
        fits = fitted(name, x, lengths, taps, strides=strides, padding=padding, dilation=dilation)
        return real_only(run(weights, fits.x, fits.padding), fits.lengths), fits.lengths

    def apply(weights: Weights, inputs: Any) -> Any:
        given = with_lengths(inputs)
        return run(weights, inputs, padding) if given is None else of_sequences(weights, given)

    layer = takes_lengths(stateless(name, init, apply, entries=entries))
    return replace(layer, stream=_in_pieces(name, apply, run, strides, padding, dilation))


def _in_pieces(
    name: str,
    apply: Callable[[Weights, Any], Any],
    run: Callable[[Weights, Any, Padding], jax.Array],
    strides: Ints,
    padding: Padding,
    dilation: Ints,
) -> Stream:
    """A causal convolution over time carries the last values that its window reaches back to."""

    def step(params: Params, inputs: Any, carry: Any) -> tuple[Any, Any]:
        taps = params.weights["kernel"].shape[:-2]
        if max(taps) == 1 and strides in (1, (1,) * len(taps)):
            return apply(params.weights, inputs), ()
        given = with_lengths(inputs)
        x, lengths = (inputs, None) if given is None else without_carry(name, given)
        array = checks.floating(name, x)
        apart = dilation if isinstance(dilation, int) else dilation[0]
        if array.ndim != 3 or padding != "CAUSAL" or strides not in (1, (1,)):
            raise ValueError(
                f"{name}: padding must be 'CAUSAL' and strides 1, on one axis, where a sequence comes in "
                f"pieces, got padding={padding!r}, strides={strides!r} and shape {array.shape}"
            )
        reach = apart * (taps[0] - 1)
        if carry is None:
            zeros = jnp.zeros_like(array[:, :1])
            carry = jnp.broadcast_to(zeros, (array.shape[0], reach, array.shape[2]))
        if given is None or lengths is None:
            both = jnp.concatenate([carry, array], axis=1)
            return run(params.weights, both, "VALID"), both[:, both.shape[1] - reach :]
        # The values before the end of each sequence, wherever in the piece that is.
        both = jnp.concatenate([carry, real_only(array, lengths)], axis=1)
        ends = jnp.expand_dims(jnp.clip(lengths, 0, array.shape[1]), 1)
        last = jnp.expand_dims(ends + places(None, reach)[None], 2)
        y = real_only(run(params.weights, both, "VALID"), lengths)
        return (y, given.lengths), jnp.take_along_axis(both, last, axis=1)

    return lambda params, room: partial(step, params)


def check_settings(op: str, window: Ints, strides: Ints, padding: Padding, dilation: Ints) -> None:
    """Checks a window's settings as far as possible before the number of spatial axes is known."""
    for name, value in (("window", window), ("strides", strides), ("dilation", dilation)):
        windows.any_axes(op, name, value)
    windows.check_padding(op, padding)


def kernel_shape(window: Ints, *channels: Size) -> Entry:
    """The shape of a kernel ``(*window, *channels)``, for any number of axes if ``window`` is an int."""
    sizes = windows.any_axes("conv", "window", window)
    return repeated(sizes, *channels) if isinstance(sizes, int) else (*sizes, *channels)


def window_for(
    op: str, x: Any, window: Ints, strides: Ints, padding: Padding, dilation: Ints
) -> tuple[int, ...]:
    """``window`` on each spatial axis of ``x``, which must be a floating-point ``(N, *space, C)``.

    Raises unless all settings are for this number of axes.
    """
    checks.floating_dtype(op, checks.one_shape(op, x).dtype)
    rank = len(checks.spatial(op, x))
    windows.per_axis(op, "strides", strides, rank)
    windows.per_axis(op, "dilation", dilation, rank)
    if not isinstance(padding, str):
        windows.pairs(op, padding, (1,) * rank, (1,) * rank, (1,) * rank)
    return windows.per_axis(op, "window", window, rank)
