"""Transposed convolutional layers, over any number of spatial axes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from jaxnn.layer import Layer, constructor, stateless
from jaxnn.layers.conv import check_settings, kernel_shape, window_for
from jaxnn.layers.initialisers import HE_NORMAL, ZEROS
from jaxnn.layers.weights import kernel_and_bias
from jaxnn.ops import checks, windows
from jaxnn.ops.conv_transpose import conv_transpose as conv_transpose_op
from jaxnn.ops.sequences import real_only
from jaxnn.ops.windows import Ints, Padding
from jaxnn.params import Key, Weights
from jaxnn.sequences import takes_lengths, with_lengths, without_carry


@constructor
def conv_transpose(
    features: int,
    window: Ints,
    *,
    strides: Ints = 1,
    padding: Padding = "VALID",
    output_padding: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
    bias: bool = True,
    kernel_init: Initializer = HE_NORMAL,
    bias_init: Initializer = ZEROS,
) -> Layer:
    """The exact transpose of ``nn.conv``: ``(N, *space, C) → (N, *out, features)``.

    Without padding, out = (L − 1)·stride + window; with ``padding="SAME"``, out = L·stride. Weights: ``kernel
    (*window, C, features // groups)`` and, with ``bias=True``, ``bias (features,)``. For the settings,
    and where PyTorch, Flax and Keras differ, see ``nn.ops.conv_transpose``.

    Args:
      features: the number of output channels.
      window: the kernel's size: an int (for every spatial axis the input has), or one per axis.
      strides: the distance between two stamps of the kernel, as ``window``.
      padding: that of the forward convolution, which is cut off here.
      output_padding: places added on the high side, from 0 to stride − 1, as ``window``.
      dilation: the distance between the kernel's values, as ``window``.
      groups: blocks of channels that do not see each other; divides ``features`` and C.
      bias: whether to add a bias.
      kernel_init: any function of (key, shape, dtype), such as those of ``jax.nn.initializers``. Their
        fan-in is C times the values of a window (PyTorch takes ``features // groups`` for C).
      bias_init: the same for the bias.

    Of ``(x, lengths)``, with time as the first spatial axis, the result is ``(y, lengths)``, as of each
    sequence alone; padding must then be one of zeros.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.conv_transpose(8, 4, strides=2, padding="SAME"), (1, 7, 7, 16))
    (1, 14, 14, 8)
    """
    features = checks.integer("conv_transpose", "features", features, least=1)
    groups = checks.integer("conv_transpose", "groups", groups, least=1)
    checks.groups_divide("conv_transpose", groups, "features", features)
    check_settings("conv_transpose", window, strides, padding, dilation)
    windows.any_axes("conv_transpose", "output_padding", output_padding, least=0)
    checks.flags("conv_transpose", bias=bias)
    checks.initialisers("conv_transpose", kernel_init=kernel_init, bias_init=bias_init)

    def init(key: Key, x: Any) -> Weights:
        taps = window_for("conv_transpose", x, window, strides, padding, dilation)
        checks.groups_divide("conv_transpose", groups, "channels of x", x.shape[-1])
        shape = (*taps, x.shape[-1], features // groups)
        return kernel_and_bias(
            "conv_transpose", key, x.dtype, shape, kernel_init, (features,) if bias else None, bias_init
        )

    def run(weights: Weights, x: Any) -> jax.Array:
        return conv_transpose_op(
            x,
            weights["kernel"],
            weights["bias"] if bias else None,
            strides=strides,
            padding=padding,
            output_padding=output_padding,
            dilation=dilation,
            groups=groups,
        )

    def apply(weights: Weights, inputs: Any) -> Any:
        given = with_lengths(inputs)
        x, lengths = (inputs, None) if given is None else without_carry("conv_transpose", given)
        if lengths is None:
            return run(weights, x)
        if isinstance(padding, str) and padding in windows.VALUE_PADDINGS:
            raise ValueError(
                f"conv_transpose: padding must be one of zeros where x has lengths, got {padding!r}"
            )
        steps = x.shape[1]
        y = run(weights, real_only(x, lengths))
        # A step less is a stride less of outputs, whatever the padding.
        step = windows.per_axis("conv_transpose", "strides", strides, x.ndim - 2)[0]
        real = jnp.clip(lengths, 0, steps)
        out = jnp.where(real > 0, jnp.maximum(y.shape[1] - (steps - real) * step, 0), 0)
        return real_only(y, out), out

    kernel = kernel_shape(window, "C", features // groups)
    entries = {"kernel": kernel, **({"bias": (features,)} if bias else {})}
    return takes_lengths(stateless("conv_transpose", init, apply, entries=entries))
