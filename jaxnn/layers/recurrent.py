"""Recurrent layers: plain, LSTM and GRU, over sequences of equal or different lengths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer, orthogonal, zeros

from jaxnn.entries import Entries
from jaxnn.kernels.dtypes import accumulator
from jaxnn.kernels.recurrence.cells import Activation
from jaxnn.layer import Layer, constructor, stateless, stochastic
from jaxnn.layers.dropout import kept
from jaxnn.layers.initialisers import HE_NORMAL, ONES, ZEROS
from jaxnn.layers.weights import LSTM_GATES, drawn, gated_weights
from jaxnn.ops import checks, recurrent
from jaxnn.ops.norm_arguments import positive
from jaxnn.params import Key, Params, Weights, fold_name
from jaxnn.sequences import as_sequences

Outputs = Literal["all", "last"]
Op = Callable[..., tuple[jax.Array, Any]]

#: The default of every recurrent kernel: it keeps the length of the state.
ORTHOGONAL: Initializer = orthogonal()


@constructor
def rnn(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    outputs: Outputs = "all",
    reverse: bool = False,
    return_carry: bool = False,
    bias: bool = True,
    kernel_init: Initializer = HE_NORMAL,
    recurrent_kernel_init: Initializer = ORTHOGONAL,
    bias_init: Initializer = ZEROS,
    state_dropout: float = 0.0,
) -> Layer:
    """A plain recurrent network: ``(N, T, F) → (N, T, features)``, or ``(N, features)`` of the last step.

    hₜ = activation(xₜ·W + hₜ₋₁·R + b); see ``nn.ops.rnn``. Weights: ``input_kernel (F, features)``,
    ``recurrent_kernel (features, features)`` and, with ``bias=True``, ``bias (features,)``.

    The input is ``x``, ``(x, lengths)`` or ``nn.Sequences(x, lengths, carry)``. With lengths, all outputs
    are returned as ``(y, lengths)`` too, which the next layer of a ``serial`` takes: nearly all layers do,
    and a function of one's own goes into ``nn.each_step``. Nothing past the end of a sequence has any
    influence, and outputs there are zero.

    Args:
      features: H, the size of the state and of each output.
      activation: any elementwise function.
      outputs: ``"all"``, or ``"last"`` for that of the last real step alone (with ``reverse``, of t = 0).
      reverse: run each sequence from its last real step to its first; outputs stand where their inputs stand.
      return_carry: return ``(the result without it, final carry)``. The carry, put into the next
        ``nn.Sequences``, continues where this sequence stopped: pieces equal the whole. The carry is float32
        at least, or has the dtype of the carry that was given.
      bias: whether to add a bias.
      kernel_init: of the input kernel, any function of (key, shape, dtype), such as those of
        ``jax.nn.initializers``.
      recurrent_kernel_init: the same for the recurrent kernel.
      bias_init: the same for the bias.
      state_dropout: the probability to drop a value of the state in hₜ₋₁·R in training: variational dropout,
        with one mask per sequence, the same at all steps (so with one key in all pieces of a sequence too).
        ``nn.spatial_dropout`` before the layer is the same for the input.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.rnn(8), (1, 20, 3))
    (1, 20, 8)
    """
    features = checks.integer("rnn", "features", features, least=1)
    checks.function("rnn", "activation", activation)
    checks.flags("rnn", bias=bias)
    checks.initialisers(
        "rnn", kernel_init=kernel_init, recurrent_kernel_init=recurrent_kernel_init, bias_init=bias_init
    )

    def init(key: Key, x: jax.ShapeDtypeStruct) -> Weights:
        inits = kernel_init, recurrent_kernel_init, bias_init if bias else None
        axes = (x.shape[-1],), (features,)
        return gated_weights("rnn", key, x.dtype, ("h",), features, axes, *inits)

    def op(weights: Weights, x: Any, **settings: Any) -> tuple[jax.Array, Any]:
        return recurrent.rnn(
            x,
            weights["input_kernel"],
            weights["recurrent_kernel"],
            weights["bias"] if bias else None,
            activation=activation,
            **settings,
        )

    entries = _entries(features, 1, "bias") if bias else _entries(features, 1)
    return _layer("rnn", init, op, entries, outputs, reverse, return_carry, state_dropout, features)


def forget_one(key: Key, shape: Any, dtype: Any = None, out_sharding: Any = None) -> jax.Array:
    """The initial bias of an LSTM, (4·H,): 1 for the forget gates, so that it remembers at first; else 0.

    >>> import jax, jaxnn as nn
    >>> forget_one(jax.random.key(0), (8,))
    Array([0., 0., 1., 1., 0., 0., 0., 0.], dtype=float32)

    Source: Jozefowicz et al., An Empirical Exploration of Recurrent Network Architectures, 2015.
    """
    quarter = shape[0] // 4
    return zeros(key, shape, dtype, out_sharding).at[quarter : 2 * quarter].set(1)


@constructor
def lstm(
    features: int,
    *,
    outputs: Outputs = "all",
    reverse: bool = False,
    return_carry: bool = False,
    bias: bool = True,
    kernel_init: Initializer = HE_NORMAL,
    recurrent_kernel_init: Initializer = ORTHOGONAL,
    bias_init: Initializer = forget_one,
    state_dropout: float = 0.0,
    projection: int | None = None,
    layer_norm: bool = False,
    epsilon: float = 1e-5,
    projection_init: Initializer = HE_NORMAL,
    scale_init: Initializer = ONES,
    cell_bias_init: Initializer = ZEROS,
) -> Layer:
    """Long short-term memory: ``(N, T, F) → (N, T, features)``, or ``(N, features)`` of the last step.

    Gates i, f, g, o and the carry (h, c); for the equations see ``nn.ops.lstm``. Weights: ``input_kernel
    (F, 4·features)``, ``recurrent_kernel (features, 4·features)`` and, with ``bias=True``, ``bias
    (4·features,)``, which starts at 1 for the forget gate (as in Keras) and at 0 for the others.

    Inputs, ``lengths`` and outputs are as for ``nn.rnn``; several layers, and both directions, are one call
    with ``nn.stacked``.

    Args:
      features: H, the size of the state and of each output.
      outputs: ``"all"``, or ``"last"`` for that of the last real step alone (with ``reverse``, of t = 0).
      reverse: run each sequence from its last real step to its first; outputs stand where their inputs stand.
      return_carry: return ``(the result without it, (h, c))``; see ``nn.rnn``.
      bias: whether to add a bias.
      kernel_init: of the input kernel, any function of (key, shape, dtype). It is called for one gate at a
        time, with shape (F, features): its fan-out is that of one gate.
      recurrent_kernel_init: the same for the recurrent kernel, with shape (features, features).
      bias_init: the same for the whole bias, with shape (4·features,).
      state_dropout: the probability to drop a value of the state in training, see ``nn.rnn``.
      projection: P: outputs and h are projected to so many values, as with PyTorch's ``proj_size``; (N, T, F)
        → (N, T, P). Weight ``projection_kernel (features, P)``, and ``recurrent_kernel (P, 4·features)``.
      layer_norm: whether both shares of the gates and the cell are normalised, see ``nn.ops.lstm``. Weights
        ``input_scale`` and ``recurrent_scale (4·features,)``, ``cell_scale`` and, with ``bias=True``,
        ``cell_bias (features,)``.
      epsilon: ε > 0, of the norms.
      projection_init: of ``projection_kernel``.
      scale_init: of the three scales.
      cell_bias_init: of ``cell_bias``.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.serial(nn.lstm(8), nn.lstm(4, outputs="last"), nn.dense(2)), (1, 20, 3))
    (1, 2)
    """
    name = "lstm"
    features = checks.integer(name, "features", features, least=1)
    size = features if projection is None else checks.integer(name, "projection", projection, least=1)
    epsilon = positive(name, epsilon)
    checks.flags(name, bias=bias, layer_norm=layer_norm)
    checks.initialisers(
        name,
        kernel_init=kernel_init,
        recurrent_kernel_init=recurrent_kernel_init,
        bias_init=bias_init,
        projection_init=projection_init,
        scale_init=scale_init,
        cell_bias_init=cell_bias_init,
    )
    more: dict[str, tuple[str, Initializer, tuple[int, ...]]] = {}
    if projection is not None:
        more["projection_kernel"] = "projection_init", projection_init, (features, size)
    if layer_norm:
        for scale, width in (("input", 4 * features), ("recurrent", 4 * features), ("cell", features)):
            more[f"{scale}_scale"] = "scale_init", scale_init, (width,)
        if bias:
            more["cell_bias"] = "cell_bias_init", cell_bias_init, (features,)

    def init(key: Key, x: jax.ShapeDtypeStruct) -> Weights:
        inits = kernel_init, recurrent_kernel_init, bias_init if bias else None
        axes = (x.shape[-1],), (size,)
        weights = gated_weights(name, key, x.dtype, LSTM_GATES, features, axes, *inits)
        for entry, (setting, own_init, shape) in more.items():
            weights[entry] = drawn(name, setting, own_init, fold_name(key, entry), shape, x.dtype)
        return weights

    def op(weights: Weights, x: Any, **settings: Any) -> tuple[jax.Array, Any]:
        return recurrent.lstm(
            x,
            weights["input_kernel"],
            weights["recurrent_kernel"],
            weights["bias"] if bias else None,
            **{entry: weights[entry] for entry in more},
            epsilon=epsilon,
            **settings,
        )

    entries = _entries(features, 4, *(("bias",) if bias else ()), state=size)
    entries = {**entries, **{entry: shape for entry, (_, _, shape) in more.items()}}
    return _layer(name, init, op, entries, outputs, reverse, return_carry, state_dropout, size)


@constructor
def gru(
    features: int,
    *,
    outputs: Outputs = "all",
    reverse: bool = False,
    return_carry: bool = False,
    bias: bool = True,
    kernel_init: Initializer = HE_NORMAL,
    recurrent_kernel_init: Initializer = ORTHOGONAL,
    bias_init: Initializer = ZEROS,
    state_dropout: float = 0.0,
) -> Layer:
    """Gated recurrent unit: ``(N, T, F) → (N, T, features)``, or ``(N, features)`` of the last step.

    Gates r, z, n with the reset after the recurrent product, as in PyTorch; for the equations see
    ``nn.ops.gru``. Weights: ``input_kernel (F, 3·features)``, ``recurrent_kernel (features, 3·features)``
    and, with ``bias=True``, ``bias (3·features,)`` and the candidate's ``recurrent_bias (features,)``.

    Inputs, ``lengths`` and outputs are as for ``nn.rnn``.

    Args:
      features: H, the size of the state and of each output.
      outputs: ``"all"``, or ``"last"`` for that of the last real step alone (with ``reverse``, of t = 0).
      reverse: run each sequence from its last real step to its first; outputs stand where their inputs stand.
      return_carry: return ``(the result without it, final carry)``; see ``nn.rnn``.
      bias: whether to add biases.
      kernel_init: of the input kernel, any function of (key, shape, dtype). It is called for one gate at a
        time, with shape (F, features): its fan-out is that of one gate.
      recurrent_kernel_init: the same for the recurrent kernel, with shape (features, features).
      bias_init: the same for each bias as a whole, with shapes (3·features,) and (features,).
      state_dropout: the probability to drop a value of the state in training, see ``nn.rnn``.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> layer = nn.gru(4, outputs="last")
    >>> params = layer.init(jax.random.key(0), (2, 6, 3))
    >>> layer.apply(params, (jnp.ones((2, 6, 3)), jnp.array([6, 2]))).shape
    (2, 4)
    """
    features = checks.integer("gru", "features", features, least=1)
    checks.flags("gru", bias=bias)
    checks.initialisers(
        "gru", kernel_init=kernel_init, recurrent_kernel_init=recurrent_kernel_init, bias_init=bias_init
    )

    def init(key: Key, x: jax.ShapeDtypeStruct) -> Weights:
        inits = kernel_init, recurrent_kernel_init, bias_init if bias else None
        axes = (x.shape[-1],), (features,)
        weights = gated_weights("gru", key, x.dtype, ("r", "z", "n"), features, axes, *inits)
        if bias:
            own_key = fold_name(key, "recurrent_bias")
            weights["recurrent_bias"] = drawn("gru", "bias_init", bias_init, own_key, (features,), x.dtype)
        return weights

    def op(weights: Weights, x: Any, **settings: Any) -> tuple[jax.Array, Any]:
        return recurrent.gru(
            x,
            weights["input_kernel"],
            weights["recurrent_kernel"],
            weights["bias"] if bias else None,
            weights["recurrent_bias"] if bias else None,
            **settings,
        )

    entries = _entries(features, 3, "bias", "recurrent_bias") if bias else _entries(features, 3)
    return _layer("gru", init, op, entries, outputs, reverse, return_carry, state_dropout, features)


def _layer(
    name: str,
    init: Callable[[Key, jax.ShapeDtypeStruct], Weights],
    op: Op,
    entries: Entries,
    outputs: Outputs,
    reverse: bool,
    return_carry: bool,
    state_dropout: float,
    state: int,
) -> Layer:
    """A layer around ``op(weights, x, carry=, lengths=, reverse=, state_mask=)``: what all three share.

    ``state`` is the size of h.
    """
    rule = "in [0, 1), the probability to drop a value of the state"
    rate = checks.number(name, "state_dropout", state_dropout, least=0, below=1, rule=rule)

    def init_input(key: Key, inputs: Any) -> Weights:
        x = checks.one_shape(name, as_sequences(name, inputs).x)
        checks.floating_dtype(name, x.dtype)
        if len(x.shape) != 3:
            raise ValueError(f"{name}: x must be (N, T, F), got shape {x.shape}")
        return init(key, x)

    def drop(op: Op, key: Key) -> Op:
        def dropped(weights: Weights, x: Any, **settings: Any) -> tuple[jax.Array, Any]:
            x = checks.floating(name, x)
            mask = kept(key, rate, (x.shape[0], state), accumulator(x.dtype), like=x[:, 0])
            return op(weights, x, state_mask=mask, **settings)

        return dropped

    return over_steps_in_order(
        name, init_input, op, entries, outputs, reverse, return_carry, drop if rate else None
    )


def over_steps_in_order(
    name: str,
    init: Callable[[Key, Any], Weights],
    op: Op,
    entries: Entries,
    outputs: Outputs,
    reverse: bool,
    return_carry: bool,
    drop: Callable[[Op, Key], Op] | None = None,
) -> Layer:
    """A layer around ``op(weights, x, carry=, lengths=, reverse=)``: its inputs, outputs, carry and stream.

    ``drop(op, key)`` is what takes its place in training.
    """
    checks.choice(name, "outputs", outputs, ("all", "last"))
    checks.flags(name, reverse=reverse, return_carry=return_carry)

    def run(op: Op, weights: Weights, inputs: Any) -> Any:
        x, lengths, carry = as_sequences(name, inputs)
        y, final = op(weights, x, carry=carry, lengths=lengths, reverse=reverse)
        if outputs == "last":
            # The state after the last step is the last output, wherever each sequence ends.
            result: Any = jax.tree.leaves(final)[0].astype(y.dtype)
        else:
            result = y if lengths is None else (y, lengths)
        return (result, final) if return_carry else result

    def apply(weights: Weights, inputs: Any) -> Any:
        return run(op, weights, inputs)

    def step(params: Params, inputs: Any, carry: Any) -> tuple[Any, Any]:
        if reverse or outputs == "last":
            raise ValueError(
                f"{name}: reverse must be False and outputs 'all' where a sequence comes in pieces, got "
                f"{reverse} and {outputs!r}"
            )
        x, lengths, own = as_sequences(name, inputs)
        y, final = op(
            params.weights, x, carry=own if carry is None else carry, lengths=lengths, reverse=False
        )
        result = y if lengths is None else (y, lengths)
        return ((result, final) if return_carry else result), final

    if drop is None:
        layer = stateless(name, init, apply, entries=entries)
    else:

        def train(weights: Weights, inputs: Any, key: Key) -> Any:
            return run(drop(op, key), weights, inputs)

        layer = stochastic(name, init, apply, train, entries=entries)
    return replace(layer, stream=lambda params, room: partial(step, params))


def _entries(features: int, gates: int, *biases: str, state: int | None = None) -> Entries:
    columns = gates * features
    sizes = {"bias": (columns,), "recurrent_bias": (features,)}
    rows = features if state is None else state
    kernels = {"input_kernel": ("F", columns), "recurrent_kernel": (rows, columns)}
    return {**kernels, **{bias: sizes[bias] for bias in biases}}
