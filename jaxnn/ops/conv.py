"""Convolution: every window of the input times one kernel, summed."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxnn.kernels.convolution import primitives as convolution
from jaxnn.kernels.convolution.problem import Settings
from jaxnn.kernels.dtypes import accumulator
from jaxnn.kernels.spans import Pairs, dilated
from jaxnn.ops import checks, windows
from jaxnn.ops.windows import Ints, Padding


def conv(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    strides: Ints = 1,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    groups: int = 1,
    implementation: str | None = None,
) -> jax.Array:
    """Convolution over any number of spatial axes.

    ``(N, *space, C_in) → (N, *out, C_out)`` with, on each axis, out = ⌊(L + low + high − k') / s⌋ + 1 for
    the input size L, the padding (low, high), the stride s and the span k' = d·(k − 1) + 1 of a window of
    k values that stand d apart::

        y[n, i, o] = bias[o] + Σ_j Σ_c x[n, s·i + d·j − low, c] · kernel[j, c, o]

    The kernel is not flipped (so, strictly, this is a cross-correlation, as in all deep-learning libraries).
    Products are summed in float32 at least, and the result is rounded to the input's dtype once, after the
    bias (on GPU and TPU half-precision values are rounded before it as well).

    Args:
      x: the input, ``(N, *space, C_in)``, floating-point.
      kernel: ``(*window, C_in // groups, C_out)``, of the dtype of ``x``.
      bias: ``(C_out,)``, added after the sum; or None.
      strides: the step between windows: an int, or one per axis.
      padding: ``"VALID"`` (none); ``"SAME"`` (zeros so that out = ⌈L/s⌉, an odd zero on the high side, as
        in lax, Keras and Flax); ``"SAME_LOWER"`` (an odd zero on the low side); ``"CAUSAL"`` (k' − 1 zeros
        before the only spatial axis, none after); ``"CIRCULAR"``, ``"REFLECT"``, ``"REPLICATE"`` (as wide as
        ``SAME``, with values of the input: its other end, its mirror image without the edge, its edge); an
        int, one int per axis, or one (low, high) pair per axis. Negative pads crop.
      dilation: the distance between the window's values: an int, or one per axis.
      groups: contiguous blocks of channels that do not see each other. ``groups=C_in`` is depthwise.
      implementation: the form to compute it in, by name; None chooses by platform and problem. ``"lax"`` is
        the plain form. Gradients take the form of that name if they have one that fits, otherwise choose.
        ``docs/kernels`` has the names, ``jaxnn.kernels.explain`` shows what is chosen.

    Raises:
      ValueError: wrong rank or channels, groups that do not divide, a setting below 1, an empty output.
      TypeError: a dtype that is not floating-point, or differs from that of ``x``.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> x = jnp.arange(5.0).reshape(1, 5, 1)
    >>> nn.ops.conv(x, jnp.ones((3, 1, 1))).ravel().tolist()
    [3.0, 6.0, 9.0]
    >>> nn.ops.conv(x, jnp.ones((3, 1, 1)), strides=2, padding="SAME").ravel().tolist()
    [1.0, 6.0, 7.0]
    """
    x, kernel, bias, settings = problem(
        "conv", x, kernel, bias, strides, padding, dilation, groups, implementation
    )
    return _convolved(x, kernel, bias, settings)


def problem(
    op: str,
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None,
    strides: Ints,
    padding: Padding,
    dilation: Ints,
    groups: int = 1,
    implementation: str | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array | None, Settings]:
    """The operands and the settings of a convolution; raises unless they fit together."""
    x, kernel, bias = checks.operands(op, x, kernel, bias)
    sizes = checks.spatial(op, x)
    rank = len(sizes)
    groups = checks.integer(op, "groups", groups, least=1)
    _check_channels(op, x, kernel, bias, groups)
    strides = windows.per_axis(op, "strides", strides, rank)
    dilation = windows.per_axis(op, "dilation", dilation, rank)
    span = dilated(kernel.shape[:-2], dilation)
    pairs = windows.pairs(op, padding, sizes, span, strides)
    windows.output_sizes(op, sizes, span, strides, pairs)
    if isinstance(padding, str) and padding in windows.VALUE_PADDINGS:
        x, pairs = pad_with_values(x, pairs, padding), ((0, 0),) * rank
    settings = Settings(
        x.shape[1:-1], kernel.shape[:-2], strides, pairs, dilation, groups, implementation=implementation
    )
    convolution.check_implementation(op, "forward", x, kernel, settings)
    return x, kernel, bias, settings


@partial(jax.jit, static_argnums=3, inline=True)  # so that it is traced and differentiated once per shape
def _convolved(x: jax.Array, kernel: jax.Array, bias: jax.Array | None, settings: Settings) -> jax.Array:
    return lax.convert_element_type(summed(x, kernel, bias, settings), x.dtype)


def summed(x: jax.Array, kernel: jax.Array, bias: jax.Array | None, settings: Settings) -> jax.Array:
    """A convolution in the accumulator's dtype."""
    return add_bias(convolution.forward(x, kernel, settings, accumulator(x.dtype)), bias)


def pad_with_values(x: jax.Array, pairs: Pairs, padding: str) -> jax.Array:
    """``x`` with its spatial axes extended by its own values, as the value padding ``padding`` says."""
    mode = windows.VALUE_PADDINGS[padding]
    # One example at a time, since jnp.pad slices even axes it doesn't pad, which a sharded batch forbids.
    return jax.vmap(lambda row: jnp.pad(row, (*pairs, (0, 0)), mode=mode))(x)


def add_bias(y: jax.Array, bias: jax.Array | None) -> jax.Array:
    """``y + bias`` along the last axis, in the dtype of ``y``."""
    if bias is None:
        return y
    row = lax.expand_dims(lax.convert_element_type(bias, y.dtype), range(y.ndim - 1))
    return lax.add(y, row)


def _check_channels(op: str, x: jax.Array, kernel: jax.Array, bias: jax.Array | None, groups: int) -> None:
    if kernel.ndim != x.ndim:
        raise ValueError(
            f"{op}: x must be (N, *space, C) and kernel (*window, C_in // groups, C_out), of as many axes, "
            f"got shapes {x.shape} and {kernel.shape}"
        )
    c_in, c_out = kernel.shape[-2] * groups, kernel.shape[-1]
    if x.shape[-1] != c_in:
        raise ValueError(
            f"{op}: x must have {c_in} channels for a kernel of shape {kernel.shape} with groups={groups}, "
            f"got {x.shape[-1]} in shape {x.shape}" + "; channels come last" * (x.shape[1] == c_in)
        )
    checks.groups_divide(op, groups, "output channels", c_out)
    checks.one_per_channel(op, "bias", bias, c_out)
