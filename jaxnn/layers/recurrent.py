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
from jaxnn.layer import Layer, constructor, stateless
from jaxnn.layers.sequences import as_sequences
from jaxnn.layers.weights import HE_NORMAL, ZEROS, drawn
from jaxnn.ops import checks, recurrent
from jaxnn.params import Key, Params, Weights, fold_name

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
) -> Layer:
    """A plain recurrent network: ``(N, T, F) → (N, T, features)``, or ``(N, features)`` of the last step.

    hₜ = activation(xₜ·W + hₜ₋₁·R + b); see ``nn.ops.rnn``. Weights: ``input_kernel (F, features)``,
    ``recurrent_kernel (features, features)`` and, with ``bias=True``, ``bias (features,)``.

    The input is ``x``, ``(x, lengths)`` or ``nn.Sequences(x, lengths, carry)``. With lengths, all outputs
    are returned as ``(y, lengths)`` too, which the next recurrent layer of a ``serial`` takes. A layer
    between them that takes no lengths goes into ``nn.split(layer, lambda lengths: lengths)``. Nothing past
    the end of a sequence has any influence, and outputs there are zero.

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
        return _weights("rnn", key, x, features, ("h",), *inits)

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
    return _layer("rnn", init, op, entries, outputs, reverse, return_carry)


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
) -> Layer:
    """Long short-term memory: ``(N, T, F) → (N, T, features)``, or ``(N, features)`` of the last step.

    Gates i, f, g, o and the carry (h, c); for the equations see ``nn.ops.lstm``. Weights: ``input_kernel
    (F, 4·features)``, ``recurrent_kernel (features, 4·features)`` and, with ``bias=True``, ``bias
    (4·features,)``, which starts at 1 for the forget gate (as in Keras) and at 0 for the others.

    Inputs, ``lengths`` and outputs are as for ``nn.rnn``.

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

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.serial(nn.lstm(8), nn.lstm(4, outputs="last"), nn.dense(2)), (1, 20, 3))
    (1, 2)
    """
    features = checks.integer("lstm", "features", features, least=1)
    checks.flags("lstm", bias=bias)
    checks.initialisers(
        "lstm", kernel_init=kernel_init, recurrent_kernel_init=recurrent_kernel_init, bias_init=bias_init
    )

    def init(key: Key, x: jax.ShapeDtypeStruct) -> Weights:
        inits = kernel_init, recurrent_kernel_init, bias_init if bias else None
        return _weights("lstm", key, x, features, ("i", "f", "g", "o"), *inits)

    def op(weights: Weights, x: Any, **settings: Any) -> tuple[jax.Array, Any]:
        return recurrent.lstm(
            x,
            weights["input_kernel"],
            weights["recurrent_kernel"],
            weights["bias"] if bias else None,
            **settings,
        )

    entries = _entries(features, 4, "bias") if bias else _entries(features, 4)
    return _layer("lstm", init, op, entries, outputs, reverse, return_carry)


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
        weights = _weights("gru", key, x, features, ("r", "z", "n"), *inits)
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
    return _layer("gru", init, op, entries, outputs, reverse, return_carry)


def _layer(
    name: str,
    init: Callable[[Key, jax.ShapeDtypeStruct], Weights],
    op: Op,
    entries: Entries,
    outputs: Outputs,
    reverse: bool,
    return_carry: bool,
) -> Layer:
    """A layer around ``op(weights, x, carry=, lengths=, reverse=)``: what all three share."""
    checks.choice(name, "outputs", outputs, ("all", "last"))
    checks.flags(name, reverse=reverse, return_carry=return_carry)

    def init_input(key: Key, inputs: Any) -> Weights:
        x = checks.one_shape(name, as_sequences(name, inputs).x)
        checks.floating_dtype(name, x.dtype)
        if len(x.shape) != 3:
            raise ValueError(f"{name}: x must be (N, T, F), got shape {x.shape}")
        return init(key, x)

    def apply(weights: Weights, inputs: Any) -> Any:
        x, lengths, carry = as_sequences(name, inputs)
        y, final = op(weights, x, carry=carry, lengths=lengths, reverse=reverse)
        if outputs == "last":
            # The state after the last step is the last output, wherever each sequence ends.
            result: Any = jax.tree.leaves(final)[0].astype(y.dtype)
        else:
            result = y if lengths is None else (y, lengths)
        return (result, final) if return_carry else result

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

    return replace(
        stateless(name, init_input, apply, entries=entries), stream=lambda params, room: partial(step, params)
    )


def _entries(features: int, gates: int, *biases: str) -> Entries:
    columns = gates * features
    sizes = {"bias": (columns,), "recurrent_bias": (features,)}
    kernels = {"input_kernel": ("F", columns), "recurrent_kernel": (features, columns)}
    return {**kernels, **{bias: sizes[bias] for bias in biases}}


def _weights(
    owner: str,
    key: Key,
    x: jax.ShapeDtypeStruct,
    features: int,
    gates: tuple[str, ...],
    kernel_init: Initializer,
    recurrent_kernel_init: Initializer,
    bias_init: Initializer | None,
) -> dict[str, jax.Array]:
    """Kernels drawn gate by gate, each from a key of its own, and an optional bias."""
    # Orthogonal matrices need a decomposition that does not exist below float32.
    draw_dtype = accumulator(x.dtype)

    def kernel(name: str, init: Initializer, rows: int) -> jax.Array:
        keys = (fold_name(fold_name(key, name), gate) for gate in gates)
        setting = name.removeprefix("input_") + "_init"
        columns = [drawn(owner, setting, init, gate_key, (rows, features), draw_dtype) for gate_key in keys]
        return jnp.concatenate(columns, axis=1).astype(x.dtype)

    weights = {
        "input_kernel": kernel("input_kernel", kernel_init, x.shape[-1]),
        "recurrent_kernel": kernel("recurrent_kernel", recurrent_kernel_init, features),
    }
    if bias_init is not None:
        own_key, shape = fold_name(key, "bias"), (len(gates) * features,)
        weights["bias"] = drawn(owner, "bias_init", bias_init, own_key, shape, x.dtype)
    return weights
