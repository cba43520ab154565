"""Transposed convolution: every value of the input stamps the kernel onto the output."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxnn.kernels.convolution import primitives as convolution
from jaxnn.kernels.convolution.problem import Settings
from jaxnn.kernels.dtypes import accumulator
from jaxnn.kernels.spans import Pairs, dilated
from jaxnn.ops import checks, windows
from jaxnn.ops.conv import add_bias, pad_with_values
from jaxnn.ops.windows import Ints, Padding

#: Paddings that fix the output's size at L·s.
FIXED_SIZE = ("SAME", "SAME_LOWER", *windows.VALUE_PADDINGS)


def conv_transpose(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    strides: Ints = 1,
    padding: Padding = "VALID",
    output_padding: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
    implementation: str | None = None,
) -> jax.Array:
    """The exact transpose of ``conv`` over any number of spatial axes.

    ``(N, *space, C_in) → (N, *out, C_out)``: the ``jax.vjp`` of ``conv`` with the same settings and its
    kernel's channel axes swapped, applied to ``x``. Every input value stamps the kernel onto the output::

        y[n, s·i + d·j − low, o] += x[n, i, c] · kernel[j, c, o]

    On each axis out = (L − 1)·s + k' − low − high + output_padding for the input size L, the stride s, the
    span k' = d·(k − 1) + 1 of the kernel and the padding (low, high); with ``SAME`` it is L·s. Products are
    summed in float32 at least, and the result is rounded to the input's dtype once, after the bias
    (on GPU and TPU half-precision values are rounded before it as well).

    Args:
      x: the input, ``(N, *space, C_in)``, floating-point.
      kernel: ``(*window, C_in, C_out // groups)``, of the dtype of ``x``. A PyTorch weight (I, O // g, *k)
        needs its axes moved and no flip.
      bias: ``(C_out,)``, added after the sum; or None.
      strides: the distance between stamps: an int, or one per axis.
      padding: that of the forward ``conv``, hence what is cut off here. An int, one int per axis or one
        (low, high) pair per axis, as in PyTorch and unlike Flax, which pads the dilated input; negative ones
        add zeros. ``"VALID"`` cuts nothing (lax, Flax and Keras widen the result to (L − 1)·s + max(k', s)).
        ``"SAME"`` gives L·s and cuts ⌊max(k' − s, 0) / 2⌋ on the low side, as lax and Keras do;
        ``"SAME_LOWER"`` cuts an odd place there. ``"CAUSAL"`` cuts k' − 1 on the low side, of one axis only.
        ``"CIRCULAR"``, ``"REFLECT"`` and ``"REPLICATE"`` cut as ``SAME`` and add what was cut to the values
        that the forward padding copied.
      output_padding: adds that many places on the high side, from 0 to s − 1: this says which of the s sizes
        that ``conv`` maps to this L is meant. 0 where the size is L·s anyway.
      dilation: the distance between the kernel's values: an int, or one per axis.
      groups: contiguous blocks of channels that do not see each other.
      implementation: the form to compute it in, by name; None chooses by platform and problem. ``"lax"`` is
        the plain form. Gradients take the form of that name if they have one that fits, otherwise choose.
        ``docs/kernels`` has the names, ``jaxnn.kernels.explain`` shows what is chosen.

    Raises:
      ValueError: wrong rank or channels, groups that do not divide, a setting out of range, an empty output.
      TypeError: a dtype that is not floating-point, or differs from that of ``x``.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> x, kernel = jnp.array([1.0, 2.0]).reshape(1, 2, 1), jnp.array([1.0, 10.0, 100.0]).reshape(3, 1, 1)
    >>> nn.ops.conv_transpose(x, kernel, strides=2).ravel().tolist()
    [1.0, 10.0, 102.0, 20.0, 200.0]
    >>> nn.ops.conv_transpose(x, kernel, strides=2, padding=1, output_padding=1).ravel().tolist()
    [10.0, 102.0, 20.0, 200.0]

    Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016.
    """
    x, kernel, bias = checks.operands("conv_transpose", x, kernel, bias)
    sizes = checks.spatial("conv_transpose", x)
    rank = len(sizes)
    groups = checks.integer("conv_transpose", "groups", groups, least=1)
    _check_channels(x, kernel, bias, groups)
    strides = windows.per_axis("conv_transpose", "strides", strides, rank)
    dilation = windows.per_axis("conv_transpose", "dilation", dilation, rank)
    span = dilated(kernel.shape[:-2], dilation)
    pairs, extra = _crops(sizes, span, strides, padding, output_padding)
    fold = isinstance(padding, str) and padding in windows.VALUE_PADDINGS
    dtype = x.dtype
    # Folding needs the places that would be cut off, and cuts them itself.
    cut = ((0, 0),) * rank if fold else pairs
    axes = zip(sizes, span, strides, cut, extra, strict=True)
    out = tuple((n - 1) * s + k - low - high + e for n, k, s, (low, high), e in axes)
    settings = Settings(out, kernel.shape[:-2], strides, cut, dilation, groups, implementation=implementation)
    kernel = jnp.swapaxes(kernel, -1, -2)
    convolution.check_implementation("conv_transpose", "input_gradient", kernel, x, settings)
    y = convolution.input_gradient(kernel, x, settings, accumulator(dtype))
    if fold:
        y = _fold_border(y, pairs, str(padding))
    return add_bias(y, bias).astype(dtype)


def _crops(
    sizes: Sequence[int],
    span: Sequence[int],
    strides: Sequence[int],
    padding: Padding,
    output_padding: Ints,
) -> tuple[Pairs, tuple[int, ...]]:
    """What to cut off the stamped canvas of (L − 1)·s + k' places, and how many places to add to it first."""
    op = "conv_transpose"
    extra = windows.per_axis(op, "output_padding", output_padding, len(sizes), least=0)
    if any(e >= s for e, s in zip(extra, strides, strict=True)):
        raise ValueError(
            f"{op}: output_padding must be below the stride, got {output_padding!r} with strides {strides}"
        )
    if isinstance(padding, str) and padding in FIXED_SIZE:
        if any(extra):
            raise ValueError(
                f"{op}: output_padding must be 0 with padding {padding!r}, whose output is always the "
                f"input's size times the stride, got {output_padding!r}"
            )
        extra = tuple(max(s - k, 0) for s, k in zip(strides, span, strict=True))
        sizes = [n * s for n, s in zip(sizes, strides, strict=True)]
        return windows.pairs(op, padding, sizes, span, strides), extra
    pairs = windows.pairs(op, padding, sizes, span, strides)
    out = tuple(
        (n - 1) * s + k - low - high + e
        for n, s, k, (low, high), e in zip(sizes, strides, span, pairs, extra, strict=True)
    )
    if any(size < 1 for size in out):
        raise ValueError(
            f"{op}: padding must leave at least one value on every axis, got {padding!r}, which leaves {out} "
            f"of an input of {tuple(sizes)}"
        )
    return pairs, extra


def _fold_border(y: jax.Array, pairs: Pairs, padding: str) -> jax.Array:
    """The transpose of padding with values: the border is added to the places it was copied from."""
    inner = y
    for axis, (low, high) in enumerate(pairs, start=1):
        inner = lax.slice_in_dim(inner, low, y.shape[axis] - high, axis=axis)
    # Padding is linear: ``inner`` gives its shape and its sharding, the values don't matter.
    _, transpose = jax.vjp(lambda x: pad_with_values(x, pairs, padding), inner)
    folded: jax.Array = transpose(y)[0]
    return folded


def _check_channels(x: jax.Array, kernel: jax.Array, bias: jax.Array | None, groups: int) -> None:
    op = "conv_transpose"
    if kernel.ndim != x.ndim:
        raise ValueError(
            f"{op}: x must be (N, *space, C) and kernel (*window, C_in, C_out // groups), of as many axes, "
            f"got shapes {x.shape} and {kernel.shape}"
        )
    c_in, block = kernel.shape[-2:]
    if x.shape[-1] != c_in:
        raise ValueError(
            f"{op}: x must have {c_in} channels for a kernel of shape {kernel.shape}, got {x.shape[-1]} in "
            f"shape {x.shape}" + "; channels come last" * (x.shape[1] == c_in)
        )
    checks.groups_divide(op, groups, "channels of x", c_in)
    checks.one_per_channel(op, "bias", bias, block * groups)
