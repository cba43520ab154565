"""The three passes of a convolution by lax: the forms that GPU libraries know.

Half-precision operands give half-precision results: GPU libraries sum them in float32 by themselves and have
few mixed forms.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.kernels.convolution import by_tap
from jaxnn.kernels.convolution.problem import Settings, channels_last, pad, swap_channels
from jaxnn.kernels.spans import Pairs


def forward(x: jax.Array, kernel: jax.Array, s: Settings, dtype: jnp.dtype, *, devices: int = 1) -> jax.Array:
    """y[n, i, o] = Σ_j Σ_c x[n, s·i + d·j − low, c] · kernel[j, c, o]."""
    x, kernel = _alike(x, kernel)
    if devices > 1 and 1 < s.groups < x.shape[-1]:  # XLA splits the batch of depthwise convolutions by itself
        return by_tap.forward(x, kernel, s).astype(dtype)
    beforehand, pairs = split_padding(s)
    y = lax.conv_general_dilated(
        pad(x, beforehand),
        kernel,
        s.strides,
        pairs,
        rhs_dilation=s.dilation,
        dimension_numbers=channels_last(s.rank),
        feature_group_count=s.groups,
        precision=s.precision,
    )
    return lax.convert_element_type(y, dtype)


def input_gradient(
    kernel: jax.Array, y: jax.Array, s: Settings, dtype: jnp.dtype, *, devices: int = 1
) -> jax.Array:
    """x[n, s·i + d·j − low, c] += y[n, i, o] · kernel[j, c, o]."""
    kernel, y = _alike(kernel, y)
    if devices > 1 and 1 < s.groups < max(kernel.shape[-2] * s.groups, y.shape[-1]):
        return by_tap.input_gradient(kernel, y, s).astype(dtype)
    beforehand, pairs = split_padding(s)
    kernel, numbers = lax.rev(kernel, range(s.rank)), channels_last(s.rank)
    if s.groups > 1:
        kernel = swap_channels(kernel, s.groups)
    else:  # Swapped channel dimensions instead would leave the form that cuDNN's matcher looks for.
        numbers = numbers._replace(rhs_spec=(s.rank, s.rank + 1, *range(s.rank)))
    padded = [n + low + high for n, (low, high) in zip(s.space, beforehand, strict=True)]
    axes = zip(padded, s.out, s.span, s.strides, pairs, strict=True)
    # More than k' − 1 of padding: those places are computed and then cropped, see ``split_padding``.
    wanted = [(k - 1 - low, n + low - ((out - 1) * step + 1)) for n, out, k, step, (low, _) in axes]
    x = lax.conv_general_dilated(
        y,
        kernel,
        (1,) * s.rank,
        [(max(low, 0), max(high, 0)) for low, high in wanted],
        lhs_dilation=s.strides,
        rhs_dilation=s.dilation,
        dimension_numbers=numbers,
        feature_group_count=s.groups,
        precision=s.precision,
    )
    crops = [(min(low, 0), min(high, 0)) for low, high in wanted]
    x = pad(x, tuple((a - low, b - high) for (a, b), (low, high) in zip(crops, beforehand, strict=True)))
    return lax.convert_element_type(x, dtype)


def kernel_gradient(
    x: jax.Array, y: jax.Array, s: Settings, dtype: jnp.dtype, *, devices: int = 1
) -> jax.Array:
    """kernel[j, c, o] = Σ_n Σ_i x[n, s·i + d·j − low, c] · y[n, i, o]."""
    x, y = _alike(x, y)
    if s.groups > 1 < devices:
        return by_tap.kernel_gradient(x, y, s, devices).astype(dtype)
    # What strides leave out at the end stays with the convolution: GPU libraries take it without a copy.
    crops = tuple((min(low, 0), min(high, 0)) for low, high in s.padding)
    x = pad(x, crops)
    axes = zip(x.shape[1:-1], s.out, s.span, s.strides, s.padding, strict=True)
    space = tuple(range(1, s.rank + 1))
    kernel = lax.conv_general_dilated(
        x,
        y,
        s.dilation,
        [(max(low, 0), (out - 1) * step + k - n - max(low, 0)) for n, out, k, step, (low, _) in axes],
        rhs_dilation=s.strides,
        dimension_numbers=lax.ConvDimensionNumbers(
            (s.rank + 1, 0, *space), (s.rank + 1, 0, *space), (s.rank, s.rank + 1, *range(s.rank))
        ),
        batch_group_count=s.groups,
        precision=s.precision,
    )
    return lax.convert_element_type(kernel, dtype)


def split_padding(s: Settings) -> tuple[Pairs, Pairs]:
    """What to pad beforehand, and what to leave to the convolution.

    With a stride, a low padding of k' − 1 makes a derivative that dilates an axis and does not pad it. XLA
    may then take that axis for a contraction while it swaps the operands (its ``ConvOperandSwapper``), and
    the process dies. Padding such an axis beforehand keeps clear of that form. Cropped beforehand too: XLA's
    convolutions for CPUs read outside the operand where a padding is negative, and return what lies there.
    """
    axes = zip(s.padding, s.span, s.strides, strict=True)
    odd = [min(pair) < 0 or (step > 1 and pair[0] == k - 1 > 0) for pair, k, step in axes]
    beforehand = tuple(pair if o else (0, 0) for o, pair in zip(odd, s.padding, strict=True))
    return beforehand, tuple((0, 0) if o else pair for o, pair in zip(odd, s.padding, strict=True))


def _alike(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both in the narrower dtype: a float32 sum that meets half-precision values was rounded to them."""
    narrow = min(a.dtype, b.dtype, key=lambda dtype: dtype.itemsize)
    return lax.convert_element_type(a, narrow), lax.convert_element_type(b, narrow)
