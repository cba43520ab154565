"""Convolutions in the one layout for which XLA is fast: channels last, not grouped, dilated or reversed.

XLA brings other convolutions into that layout at the top level of a program only. Within a loop they become a
naive nest of loops; so transposes and flips are written out here.
"""

from math import prod

import jax
from jax import lax

from jaxnn.kernels.convolution.cpu import libraries
from jaxnn.kernels.convolution.problem import Settings, channels_last, pad, swap_channels
from jaxnn.kernels.lowering.fusion import materialized


def forward(x: jax.Array, kernel: jax.Array, s: Settings) -> jax.Array:
    """The convolution for which XLA is fast. Negative padding is cropped beforehand.

    If the window has more values than the image, XLA swaps the two, and has only naive loops for the result.
    So the image is padded beforehand: then it has as many.
    """
    swapped = prod(kernel.shape[:-2]) > prod(x.shape[1:-1])
    beforehand = [swapped or min(pair) < 0 for pair in s.padding]
    # Axis by axis: in the kernel's gradient the last one is the batch, which may be sharded.
    x = pad(x, tuple(pair if first else (0, 0) for first, pair in zip(beforehand, s.padding, strict=True)))
    x = materialized(x) if swapped else x
    pairs = [(0, 0) if first else pair for first, pair in zip(beforehand, s.padding, strict=True)]
    s = s._replace(space=x.shape[1:-1], window=kernel.shape[:-2], padding=tuple(pairs))
    further = libraries.beyond(x, kernel, s)
    if further is not None:
        axis, places = further
        low, high = pairs[axis]
        pairs[axis] = low, high + places * s.strides[axis]
    y = lax.conv_general_dilated(
        x,
        kernel,
        s.strides,
        pairs,
        rhs_dilation=s.dilation,
        dimension_numbers=channels_last(s.rank),
        precision=s.precision,
    )
    return y if further is None else libraries.cut(y, s)


def input_gradient(kernel: jax.Array, y: jax.Array, s: Settings) -> jax.Array:
    """x[n, s·i + d·j − low, c] += y[n, i, o] · kernel[j, c, o], by a convolution that dilates y itself."""
    axes = zip(s.space, s.out, s.span, s.strides, s.padding, strict=True)
    wanted = [(k - 1 - low, n + low - (out - 1) * step - 1) for n, out, k, step, (low, _) in axes]
    # Where an axis is dilated and not padded, XLA may take it for a contraction, and the process dies.
    least = [int(step > 1) for step in s.strides]
    given = [(max(low, one), max(high, 0)) for (low, high), one in zip(wanted, least, strict=True)]
    x = lax.conv_general_dilated(
        y,
        swap_channels(lax.rev(kernel, range(s.rank)), 1),
        (1,) * s.rank,
        given,
        lhs_dilation=s.strides,
        rhs_dilation=s.dilation,
        dimension_numbers=channels_last(s.rank),
        precision=s.precision,
    )
    more = zip(wanted, given, strict=True)
    return pad(x, tuple((low - more_low, high - more_high) for (low, high), (more_low, more_high) in more))


def kernel_gradient(x: jax.Array, y: jax.Array, s: Settings) -> jax.Array:
    """kernel[j, c, o] = Σ_n Σ_i x[n, s·i + d·j − low, c] · y[n, i, o]."""
    return lax.transpose(kernel_gradient_by_input(x, y, s), (*range(1, s.rank + 1), 0, s.rank + 1))


def kernel_gradient_by_input(x: jax.Array, y: jax.Array, s: Settings) -> jax.Array:
    """The kernel's gradient with the input channels first: (I, *window, O).

    A convolution whose window is y, with the channels of x as its batch and the batch as its channels.
    """
    axes = zip(s.space, s.out, s.window, s.strides, s.dilation, s.padding, strict=True)
    pairs = tuple(
        (low, (out - 1) * step + 1 + (k - 1) * d - n - low) for n, out, k, step, d, (low, _) in axes
    )
    space = tuple(range(1, s.rank + 1))
    by_channel = lax.transpose(x, (s.rank + 1, *space, 0))
    window = lax.transpose(y, (*space, 0, s.rank + 1))
    transposed = s._replace(strides=s.dilation, padding=pairs, dilation=s.strides)
    return forward(by_channel, window, transposed)


def kernel_gradient_by_output(x: jax.Array, y: jax.Array, s: Settings) -> jax.Array:
    """The kernel's gradient, without strides, by a convolution whose window is x.

    The channels of y are its batch, so that its windows are fewer where these are, and the channels of x are
    computed side by side. The result is reversed.
    """
    axes = zip(s.space, s.out, s.span, s.padding, strict=True)
    pairs = tuple((k - 1 - low, n - out + low) for n, out, k, (low, _) in axes)
    space = tuple(range(1, s.rank + 1))
    by_channel = lax.transpose(y, (s.rank + 1, *space, 0))
    window = lax.transpose(x, (*space, 0, s.rank + 1))
    kernel = forward(by_channel, window, s._replace(strides=s.dilation, padding=pairs, dilation=s.strides))
    return lax.transpose(lax.rev(kernel, space), (*space, s.rank + 1, 0))
