"""Convolutional LSTM: a recurrent network whose products are convolutions, over sequences of images."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnn.kernels.convolution.problem import Settings
from jaxnn.kernels.dtypes import accumulator
from jaxnn.kernels.recurrence import variants
from jaxnn.kernels.recurrence.cells import HiddenAndCell, lstm_step
from jaxnn.ops import checks, windows
from jaxnn.ops.conv import problem, summed
from jaxnn.ops.recurrent import as_given, of_real_steps
from jaxnn.ops.recurrent_arguments import describe, fitting
from jaxnn.ops.sequences import checked_lengths
from jaxnn.ops.windows import Ints, Padding


def conv_lstm(
    x: ArrayLike,
    input_kernel: ArrayLike,
    recurrent_kernel: ArrayLike,
    bias: ArrayLike | None = None,
    carry: tuple[ArrayLike, ArrayLike] | None = None,
    *,
    strides: Ints = 1,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
) -> tuple[jax.Array, HiddenAndCell]:
    """Convolutional LSTM: (N, T, *space, C) → outputs (N, T, *out, H) and the final carry (h, c).

    i, f, g, o = conv(xₜ, W) + conv(hₜ₋₁, R) + b  (four gates of H channels, in this order),
    cₜ = σ(f)·cₜ₋₁ + σ(i)·tanh(g),  hₜ = σ(o)·tanh(cₜ), and the output at t is hₜ. No peepholes.

    The first convolution has the settings given, as those of ``conv``; the second keeps the size of h
    (stride 1, padding ``"SAME"``). All of x is convolved with W at once, before the loop.

    Args:
      x: (N, T, *space, C), T at least 1, with one spatial axis or more.
      input_kernel: W, (*window, C, 4·H).
      recurrent_kernel: R, (*window, H, 4·H), of any window.
      bias: b, (4·H,), or None for none.
      carry: (h, c) before the first step, each (N, *out, H), in the dtype of ``x`` or in float32 at least;
        None for zeros.
      strides: of the convolution of x.
      padding: of the convolution of x, as in ``conv``.
      dilation: of the convolution of x.
      lengths: (N,) integers, how many steps of each sequence are real; see ``rnn``.
      reverse: run each sequence from its last real step to its first; see ``rnn``.

    Returns:
      The outputs in the dtype of ``x``; the final carry in the dtypes of the given one, or without one in the
      dtype of accumulation, so that a sequence fed in pieces equals the whole.

    Raises:
      ValueError: if a shape does not fit the others, or T is 0.
      TypeError: if an array is not floating-point, the dtypes differ, the carry is not a pair, or ``lengths``
        are not integers.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> x, w, r = jnp.ones((2, 5, 8, 8, 3)), jnp.ones((3, 3, 3, 16)), jnp.ones((3, 3, 4, 16))
    >>> y, (h, c) = nn.ops.conv_lstm(x, w, r, padding="SAME")
    >>> y.shape, h.shape
    ((2, 5, 8, 8, 4), (2, 8, 8, 4))

    Shi et al., "Convolutional LSTM network", 2015, without peepholes.
    """
    op = "conv_lstm"
    checks.flags(op, reverse=reverse)
    x = checks.floating(op, x)
    if x.ndim < 4 or 0 in x.shape[1:]:
        raise ValueError(f"{op}: x must be (N, T, *space, C) with at least one step, got shape {x.shape}")
    frames = x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])
    given = _given(op, frames, input_kernel, recurrent_kernel, bias, strides, padding, dilation)
    outputs, final = _over_sequences(
        given.x.reshape(*x.shape[:2], *given.x.shape[1:]),
        (given.input_kernel, given.recurrent_kernel, given.bias),
        _carry(op, carry, x.shape[0], given),
        None if lengths is None else checked_lengths(op, lengths, x),
        settings=given.settings,
        recurrent_settings=given.recurrent_settings,
        reverse=reverse,
    )
    return outputs, as_given(final, carry)


def conv_lstm_step(
    carry: tuple[ArrayLike, ArrayLike],
    x: ArrayLike,
    input_kernel: ArrayLike,
    recurrent_kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    strides: Ints = 1,
    padding: Padding = "VALID",
    dilation: Ints = 1,
) -> tuple[HiddenAndCell, jax.Array]:
    """One step of ``conv_lstm``: carry (h, c), x (N, *space, C) → the new carry and the output (N, *out, H).

    Results are in the order that ``jax.lax.scan`` wants. The new carry has the dtypes of the old one, the
    output that of ``x``. Weights, equations and errors are those of ``conv_lstm``.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> x, w, r, zeros = jnp.ones((2, 8, 3)), jnp.ones((3, 3, 16)), jnp.ones((3, 4, 16)), jnp.zeros((2, 6, 4))
    >>> (h, c), y = nn.ops.conv_lstm_step((zeros, zeros), x, w, r)
    >>> y.shape
    (2, 6, 4)
    """
    op = "conv_lstm_step"
    x = checks.floating(op, x)
    checks.spatial(op, x)
    given = _given(op, x, input_kernel, recurrent_kernel, bias, strides, padding, dilation)
    share = summed(given.x, given.input_kernel, given.bias, given.settings)
    step = _make_step(given.recurrent_settings, given.recurrent_kernel)
    final = step(_carry(op, carry, x.shape[0], given), share)
    return as_given(final, carry), final[0].astype(x.dtype)


class _Given(NamedTuple):
    """The weights, and the settings of both convolutions.

    Attributes:
      x: the frames, padded with values if that is the padding.
      settings: of the input's convolution.
      recurrent_settings: of the state's.
    """

    x: jax.Array
    input_kernel: jax.Array
    recurrent_kernel: jax.Array
    bias: jax.Array | None
    settings: Settings
    recurrent_settings: Settings


def _given(
    op: str,
    frames: jax.Array,
    input_kernel: ArrayLike,
    recurrent_kernel: ArrayLike,
    bias: ArrayLike | None,
    strides: Ints,
    padding: Padding,
    dilation: Ints,
) -> _Given:
    recurrent = checks.floating(op, recurrent_kernel, "recurrent_kernel")
    own = checks.floating(op, input_kernel, "input_kernel")
    checks.same_dtype(op, frames, input_kernel=own, recurrent_kernel=recurrent)
    rank, hidden = frames.ndim - 2, recurrent.shape[-2] if recurrent.ndim > 1 else 0
    for name, kernel, channels in (
        ("recurrent_kernel", recurrent, (hidden, 4 * hidden)),
        ("input_kernel", own, (frames.shape[-1], 4 * hidden)),
    ):
        if kernel.ndim != rank + 2 or kernel.shape[rank:] != channels or 0 in kernel.shape:
            axes = "(*window, H, 4·H)" if kernel is recurrent else "(*window, C, 4·H)"
            raise ValueError(
                f"{op}: {name} must be {axes}, {rank} axes of a window and then "
                f"{channels}, got shape {kernel.shape}"
            )
    frames, own, bias, settings = problem(op, frames, own, bias, strides, padding, dilation)
    ones, taps = (1,) * rank, recurrent.shape[:-2]
    of_state = Settings(settings.out, taps, ones, windows.pairs(op, "SAME", settings.out, taps, ones), ones)
    return _Given(frames, own, recurrent, bias, settings, of_state)


def _carry(op: str, carry: tuple[ArrayLike, ArrayLike] | None, batch: int, given: _Given) -> HiddenAndCell:
    """The initial (h, c) in the accumulator's dtype: ``carry``, or zeros."""
    x, wide = given.x, accumulator(given.x.dtype)
    shape = (batch, *given.recurrent_settings.space, given.recurrent_kernel.shape[-2])
    if carry is None:
        return jnp.zeros(shape, wide), jnp.zeros(shape, wide)
    if not isinstance(carry, tuple) or len(carry) != 2:
        raise TypeError(f"{op}: carry must be a tuple (h, c), got {describe(carry)}")
    h, c = (
        fitting(op, f"carry {name}", value, shape, "(N, *out, H)", x)
        for name, value in zip("hc", carry, strict=True)
    )
    if h is None or c is None:
        raise TypeError(f"{op}: carry must be a tuple (h, c) of arrays, got None in it")
    return h.astype(wide), c.astype(wide)


def _make_step(settings: Settings, recurrent_kernel: jax.Array) -> variants.Step:
    def step(carry: HiddenAndCell, share: jax.Array) -> HiddenAndCell:
        h = carry[0].astype(recurrent_kernel.dtype)
        return lstm_step(carry, share + summed(h, recurrent_kernel, None, settings))

    return step


@partial(jax.jit, static_argnames=("settings", "recurrent_settings", "reverse"))
def _over_sequences(
    x: jax.Array,
    weights: tuple[jax.Array, jax.Array, jax.Array | None],
    carry: HiddenAndCell,
    lengths: jax.Array | None,
    *,
    settings: Settings,
    recurrent_settings: Settings,
    reverse: bool,
) -> tuple[jax.Array, Any]:
    input_kernel, recurrent_kernel, bias = weights

    def run(x: jax.Array, real: jax.Array | None) -> tuple[jax.Array, Any]:
        frames = x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])
        shares = summed(frames, input_kernel, bias, settings)
        shares = shares.reshape(*x.shape[:2], *shares.shape[1:])
        make_step = partial(_make_step, recurrent_settings)
        return variants.scanned(make_step, recurrent_kernel, shares, carry, real, reverse=reverse)

    return of_real_steps(run, x, lengths)
