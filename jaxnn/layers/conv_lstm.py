"""The convolutional LSTM as a layer."""

from __future__ import annotations

from typing import Any

import jax
from jax.nn.initializers import Initializer

from jaxnn.layer import Layer, constructor
from jaxnn.layers.conv import check_settings, kernel_shape, window_for
from jaxnn.layers.initialisers import HE_NORMAL
from jaxnn.layers.recurrent import ORTHOGONAL, Outputs, forget_one, over_steps_in_order
from jaxnn.layers.weights import LSTM_GATES, gated_weights
from jaxnn.ops import checks, windows
from jaxnn.ops.conv_lstm import conv_lstm as conv_lstm_op
from jaxnn.ops.windows import Ints, Padding
from jaxnn.params import Key, Weights
from jaxnn.sequences import as_sequences


@constructor
def conv_lstm(
    features: int,
    window: Ints,
    *,
    recurrent_window: Ints | None = None,
    strides: Ints = 1,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    outputs: Outputs = "all",
    reverse: bool = False,
    return_carry: bool = False,
    bias: bool = True,
    kernel_init: Initializer = HE_NORMAL,
    recurrent_kernel_init: Initializer = ORTHOGONAL,
    bias_init: Initializer = forget_one,
) -> Layer:
    """Convolutional LSTM: ``(N, T, *space, C) → (N, T, *out, features)``, or ``(N, *out, features)``.

    An LSTM whose products are convolutions, over any number of spatial axes; for the equations see
    ``nn.ops.conv_lstm``. Weights: ``input_kernel (*window, C, 4·features)``, ``recurrent_kernel
    (*recurrent_window, features, 4·features)`` and, with ``bias=True``, ``bias (4·features,)``, which starts
    at 1 for the forget gate.

    Inputs, ``lengths``, carry and outputs are as for ``nn.rnn``.

    Args:
      features: H, the channels of the state and of each output.
      window: of the convolution of the input: an int (for every spatial axis the input has), or one per axis.
      recurrent_window: of the convolution of the state, which keeps its size; None for ``window``.
      strides: of the convolution of the input.
      padding: of the convolution of the input, as in ``nn.conv``.
      dilation: of the convolution of the input.
      outputs: ``"all"``, or ``"last"`` for that of the last real step alone (with ``reverse``, of t = 0).
      reverse: run each sequence from its last real step to its first; outputs stand where their inputs stand.
      return_carry: return ``(the result without it, (h, c))``; see ``nn.rnn``.
      bias: whether to add a bias.
      kernel_init: of the input kernel, any function of (key, shape, dtype). It is called for one gate at a
        time, with shape (*window, C, features).
      recurrent_kernel_init: the same for the recurrent kernel.
      bias_init: the same for the whole bias, with shape (4·features,).

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.conv_lstm(8, 3, padding="SAME"), (1, 10, 28, 28, 1))
    (1, 10, 28, 28, 8)

    Shi et al., "Convolutional LSTM network", 2015, without peepholes.
    """
    name = "conv_lstm"
    features = checks.integer(name, "features", features, least=1)
    check_settings(name, window, strides, padding, dilation)
    own_window = window if recurrent_window is None else recurrent_window
    windows.any_axes(name, "recurrent_window", own_window)
    checks.flags(name, bias=bias)
    checks.initialisers(
        name, kernel_init=kernel_init, recurrent_kernel_init=recurrent_kernel_init, bias_init=bias_init
    )

    def init(key: Key, inputs: Any) -> Weights:
        x = checks.one_shape(name, as_sequences(name, inputs).x)
        checks.floating_dtype(name, x.dtype)
        if len(x.shape) < 4:
            raise ValueError(f"{name}: x must be (N, T, *space, C), got shape {x.shape}")
        frame = jax.ShapeDtypeStruct((x.shape[0], *x.shape[2:]), x.dtype)
        taps = window_for(name, frame, window, strides, padding, dilation)
        own_taps = windows.per_axis(name, "recurrent_window", own_window, len(taps))
        axes = (*taps, x.shape[-1]), (*own_taps, features)
        inits = kernel_init, recurrent_kernel_init, bias_init if bias else None
        return gated_weights(name, key, x.dtype, LSTM_GATES, features, axes, *inits)

    def op(weights: Weights, x: Any, **settings: Any) -> tuple[jax.Array, Any]:
        return conv_lstm_op(
            x,
            weights["input_kernel"],
            weights["recurrent_kernel"],
            weights["bias"] if bias else None,
            strides=strides,
            padding=padding,
            dilation=dilation,
            **settings,
        )

    entries = {
        "input_kernel": kernel_shape(window, "C", 4 * features),
        "recurrent_kernel": kernel_shape(own_window, features, 4 * features),
        **({"bias": (4 * features,)} if bias else {}),
    }
    return over_steps_in_order(name, init, op, entries, outputs, reverse, return_carry)
