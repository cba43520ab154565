"""Normalising layers: the ops with a learnt scale and bias; batch norm also has running statistics."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn.initializers import Initializer

from jaxnn.entries import require_entries
from jaxnn.kernels.dtypes import accumulator
from jaxnn.layer import Layer, constructor, stateless
from jaxnn.layers.initialisers import ONES, ZEROS
from jaxnn.layers.weights import drawn
from jaxnn.ops import checks
from jaxnn.ops import norm as ops
from jaxnn.ops.norm_arguments import positive
from jaxnn.params import Key, Params, State, Weights, checks_params, fold_name
from jaxnn.sequences import over_steps, over_time, spec_of_x, takes_lengths
from jaxnn.shapes import Spec, as_spec


@constructor
def batch_norm(
    *,
    momentum: float = 0.9,
    epsilon: float = 1e-5,
    scale: bool = True,
    bias: bool = True,
    axis_name: Hashable | None = None,
    scale_init: Initializer = ONES,
    bias_init: Initializer = ZEROS,
) -> Layer:
    """Normalises each channel, by batch statistics in training, by running ones after: (N, *space, C) → same.

    y = (x − mean) / √(var + ε) · scale + bias. ``train`` takes the mean and the biased variance from the
    batch, over all axes but the last, and moves the running ones:
    running ← momentum · running + (1 − momentum) · new, with the *unbiased* variance, n / (n − 1) times the
    biased one. ``apply`` uses the running ones.

    Weights ``scale`` and ``bias``, (C,), in the dtype of the input; state ``mean`` (from 0) and ``var``
    (from 1), (C,), in float32 at least.

    Of ``(x, lengths)``, with time as the first axis after the batch, only the steps of each sequence count,
    in the running statistics too; outputs past the ends are zero. A batch without any step moves nothing.

    Args:
      momentum: weight of the *old* running value, in [0, 1], as in Keras and Flax; PyTorch's is 1 minus it.
      epsilon: ε > 0, inside the root.
      scale: whether to learn a scale.
      bias: whether to learn a bias.
      axis_name: names of mapped axes (``jax.shard_map``, ``jax.vmap``) that hold further parts of the batch.
        Under ``jax.jit`` with a sharded batch the statistics are of the whole batch anyway.
      scale_init: initialiser of the scale.
      bias_init: initialiser of the bias.

    Raises:
      TypeError: for integer input.
      ValueError: for momentum or ε out of range; in training for fewer than two values per channel.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> layer = nn.batch_norm(momentum=0.5)
    >>> params = layer.init(jax.random.key(0), (1, 2))
    >>> y, state = layer.train(params, jnp.array([[1.0, 10.0], [3.0, 30.0]]))
    >>> print(y.round(3), state["mean"], state["var"].round(2))
    [[-1. -1.]
     [ 1.  1.]] [ 1. 10.] [  1.5 100.5]

    Ioffe and Szegedy, "Batch normalization", 2015.
    """
    name = "batch_norm"
    momentum = checks.number(name, "momentum", momentum, least=0, most=1)
    epsilon = positive(name, epsilon)
    checks.flags(name, scale=scale, bias=bias)
    checks.initialisers(name, scale_init=scale_init, bias_init=bias_init)

    def init(key: Key, shape: Spec, /) -> Params:
        checks.key(name, key)
        x = checks.one_shape(name, spec_of_x(as_spec(shape)))
        channels, wide = x.shape[-1:], accumulator(x.dtype)
        state = {"mean": ZEROS(key, channels, wide), "var": ONES(key, channels, wide)}
        return Params(
            _affine(name, key, channels, x.dtype, scale_init if scale else None, bias_init if bias else None),
            state,
        )

    def apply(params: Params, inputs: Any, /) -> Any:
        weights, state = params
        own = _given(weights, scale, bias)

        def normalised(x: Any) -> jax.Array:
            return ops.batch_norm(x, state["mean"], state["var"], **own, epsilon=epsilon)

        return over_steps(name, normalised, inputs)

    def train(params: Params, inputs: Any, /, key: Key | None = None) -> tuple[Any, State]:
        checks.optional_key(name, key)
        weights, state = params
        statistics = []

        def normalised(x: Any, lengths: Any) -> jax.Array:
            own = _given(weights, scale, bias)
            y, *found = ops.batch_norm_train(x, **own, epsilon=epsilon, axis_name=axis_name, lengths=lengths)
            statistics.extend(found)
            return y

        y = over_time(name, normalised, inputs)
        mean, var, n = statistics
        require_entries(name, {"mean": mean.shape, "var": mean.shape}, state)
        moved = partial(_moved, momentum, n) if isinstance(n, int) else partial(_moved_by, momentum, n)
        return y, moved(dict(state), mean, var)

    entries = dict.fromkeys(_parts(scale, bias))
    checked = partial(checks_params, name, entries=entries, state={"mean": ("C",), "var": ("C",)})
    return Layer(name, init, checked(apply), checked(train), draws=False)


@partial(jax.jit, static_argnums=(0, 1), inline=True)  # traced once per shape
def _moved(momentum: float, n: Any, state: State, mean: jax.Array, var: jax.Array) -> State:
    """The running statistics after a batch of ``n`` values per channel; the variance becomes unbiased."""
    unbiased = var * jnp.asarray(n, var.dtype) / jnp.asarray(n - 1, var.dtype)
    return _between(momentum, state, mean, unbiased)


@partial(jax.jit, static_argnums=0, inline=True)
def _moved_by(momentum: float, n: jax.Array, state: State, mean: jax.Array, var: jax.Array) -> State:
    """The same for a number of real values that is known only when the program runs.

    A single value has no unbiased variance, and its biased one is taken, 0; without any nothing moves.
    """
    unbiased = var * (n / jnp.maximum(n - 1, 1))
    moved = _between(momentum, state, mean, unbiased)
    return {entry: jnp.where(n > 0, new, state[entry]) for entry, new in moved.items()}


def _between(momentum: float, state: State, mean: jax.Array, unbiased: jax.Array) -> State:
    # Only inference reads these, training never does: no gradient should pass.
    return {
        old: momentum * state[old] + (1 - momentum) * lax.stop_gradient(new)
        for old, new in (("mean", mean), ("var", unbiased))
    }


@constructor
def layer_norm(
    *,
    axes: int | Sequence[int] = -1,
    epsilon: float = 1e-5,
    scale: bool = True,
    bias: bool = True,
    scale_init: Initializer = ONES,
    bias_init: Initializer = ZEROS,
) -> Layer:
    """Normalises each position over its channels, or over other ``axes``: any shape → the same shape.

    y = (x − E[x]) / √(Var[x] + ε) · scale + bias, with E and the biased Var over ``axes``. Weights
    ``scale`` and ``bias`` have the sizes of ``axes``, in the order they have in the input. Of ``(x,
    lengths)`` each step is normalised as if alone; where axis 1, time, is among ``axes``, only real steps
    count.

    Args:
      axes: the axes that share statistics, ``(1, 2, 3)`` for a whole image; never the batch axis.
      epsilon: ε > 0, inside the root. (1e-6 in Flax.)
      scale: whether to learn a scale.
      bias: whether to learn a bias.
      scale_init: initialiser of the scale.
      bias_init: initialiser of the bias.

    Raises:
      TypeError: for integer input.
      ValueError: for axes that are not there or hold the batch, a single value to normalise over, or ε ≤ 0.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> layer = nn.layer_norm()
    >>> params = layer.init(jax.random.key(0), (1, 2))
    >>> print(layer.apply(params, jnp.array([[1.0, 3.0], [10.0, 30.0]])).round(3))
    [[-1.  1.]
     [-1.  1.]]

    Ba, Kiros and Hinton, "Layer normalization", 2016.
    """
    name = "layer_norm"
    epsilon = positive(name, epsilon)
    checks.axes(name, axes)
    checks.flags(name, scale=scale, bias=bias)
    checks.initialisers(name, scale_init=scale_init, bias_init=bias_init)

    def init(key: Key, x: Any) -> Weights:
        sizes = _sizes(name, x, axes)
        return _affine(name, key, sizes, x.dtype, scale_init if scale else None, bias_init if bias else None)

    def apply(weights: Weights, inputs: Any) -> Any:
        own = _given(weights, scale, bias)

        def normalised(x: Any, lengths: Any) -> jax.Array:
            return ops.layer_norm(
                x, own.get("scale"), own.get("bias"), axes=axes, epsilon=epsilon, lengths=lengths
            )

        return over_time(name, normalised, inputs)

    return takes_lengths(stateless(name, init, apply, entries=dict.fromkeys(_parts(scale, bias))))


@constructor
def rms_norm(
    *,
    axes: int | Sequence[int] = -1,
    epsilon: float = 1e-5,
    scale: bool = True,
    scale_init: Initializer = ONES,
) -> Layer:
    """Divides each position by the root of its mean square: any shape → the same shape.

    y = x / √(E[x²] + ε) · scale, with E over ``axes``; weight ``scale`` has their sizes, in the order they
    have in the input. ``(x, lengths)`` as for ``layer_norm``.

    Args:
      axes: the axes that share a mean square; never the batch axis.
      epsilon: ε > 0, inside the root. (In PyTorch the default is the dtype's machine epsilon.)
      scale: whether to learn a scale.
      scale_init: its initialiser.

    Raises:
      TypeError: for integer input.
      ValueError: for axes that are not there or hold the batch, or ε ≤ 0.

    >>> import jax, jax.numpy as jnp, jaxnn as nn, numpy as np
    >>> layer = nn.rms_norm()
    >>> params = layer.init(jax.random.key(0), (1, 2))
    >>> print(np.asarray(layer.apply(params, jnp.array([[3.0, 4.0]]))).round(3))
    [[0.849 1.131]]

    Zhang and Sennrich, "Root mean square layer normalization", 2019.
    """
    name = "rms_norm"
    epsilon = positive(name, epsilon)
    checks.axes(name, axes)
    checks.flags(name, scale=scale)
    checks.initialisers(name, scale_init=scale_init)

    def init(key: Key, x: Any) -> Weights:
        return _affine(name, key, _sizes(name, x, axes), x.dtype, scale_init if scale else None, None)

    def apply(weights: Weights, inputs: Any) -> Any:
        own = _given(weights, scale, False)

        def normalised(x: Any, lengths: Any) -> jax.Array:
            return ops.rms_norm(x, **own, axes=axes, epsilon=epsilon, lengths=lengths)

        return over_time(name, normalised, inputs)

    return takes_lengths(stateless(name, init, apply, entries=dict.fromkeys(_parts(scale, False))))


@constructor
def group_norm(
    groups: int,
    *,
    epsilon: float = 1e-5,
    scale: bool = True,
    bias: bool = True,
    scale_init: Initializer = ONES,
    bias_init: Initializer = ZEROS,
) -> Layer:
    """Normalises groups of channels of each example, over space too: (N, *space, C) → (N, *space, C).

    y = (x − E[x]) / √(Var[x] + ε) · scale + bias. Group g holds the C / groups channels from g · C / groups
    on. Weights ``scale`` and ``bias``, (C,). Of ``(x, lengths)``, with time as the first spatial axis, only
    the steps of each sequence count.

    Args:
      groups: ≥ 1; must divide C.
      epsilon: ε > 0, inside the root.
      scale: whether to learn a scale.
      bias: whether to learn a bias.
      scale_init: initialiser of the scale.
      bias_init: initialiser of the bias.

    Raises:
      TypeError: for integer input.
      ValueError: for groups that do not divide C, a single value in a group, too few axes, or ε ≤ 0.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> layer = nn.group_norm(2)
    >>> params = layer.init(jax.random.key(0), (1, 4))
    >>> print(layer.apply(params, jnp.array([[1.0, 3.0, 10.0, 30.0]])).round(3))
    [[-1.  1. -1.  1.]]

    Wu and He, "Group normalization", 2018.
    """
    name = "group_norm"
    groups = checks.integer(name, "groups", groups, least=1)
    epsilon = positive(name, epsilon)
    checks.flags(name, scale=scale, bias=bias)
    checks.initialisers(name, scale_init=scale_init, bias_init=bias_init)

    def init(key: Key, x: Any) -> Weights:
        checks.one_shape(name, x)
        return _affine(
            name, key, x.shape[-1:], x.dtype, scale_init if scale else None, bias_init if bias else None
        )

    def apply(weights: Weights, inputs: Any) -> Any:
        own = _given(weights, scale, bias)

        def normalised(x: Any, lengths: Any) -> jax.Array:
            return ops.group_norm(x, groups, **own, epsilon=epsilon, lengths=lengths)

        return over_time(name, normalised, inputs)

    return takes_lengths(stateless(name, init, apply, entries=dict.fromkeys(_parts(scale, bias))))


@constructor
def instance_norm(
    *,
    epsilon: float = 1e-5,
    scale: bool = True,
    bias: bool = True,
    scale_init: Initializer = ONES,
    bias_init: Initializer = ZEROS,
) -> Layer:
    """Normalises each channel of each example over space: (N, *space, C) → (N, *space, C).

    y = (x − E[x]) / √(Var[x] + ε) · scale + bias, with E and the biased Var over all positions. Weights
    ``scale`` and ``bias``, (C,); PyTorch has none by default. ``(x, lengths)`` as for ``group_norm``.

    Args:
      epsilon: ε > 0, inside the root.
      scale: whether to learn a scale.
      bias: whether to learn a bias.
      scale_init: initialiser of the scale.
      bias_init: initialiser of the bias.

    Raises:
      TypeError: for integer input.
      ValueError: for no spatial axis, a single position, or ε ≤ 0.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> layer = nn.instance_norm()
    >>> params = layer.init(jax.random.key(0), (1, 2, 2))
    >>> print(layer.apply(params, jnp.array([[[1.0, 10.0], [3.0, 30.0]]])).round(3))
    [[[-1. -1.]
      [ 1.  1.]]]

    Ulyanov, Vedaldi and Lempitsky, "Instance normalization", 2016.
    """
    name = "instance_norm"
    epsilon = positive(name, epsilon)
    checks.flags(name, scale=scale, bias=bias)
    checks.initialisers(name, scale_init=scale_init, bias_init=bias_init)

    def init(key: Key, x: Any) -> Weights:
        checks.one_shape(name, x)
        return _affine(
            name, key, x.shape[-1:], x.dtype, scale_init if scale else None, bias_init if bias else None
        )

    def apply(weights: Weights, inputs: Any) -> Any:
        own = _given(weights, scale, bias)

        def normalised(x: Any, lengths: Any) -> jax.Array:
            return ops.instance_norm(x, **own, epsilon=epsilon, lengths=lengths)

        return over_time(name, normalised, inputs)

    return takes_lengths(stateless(name, init, apply, entries=dict.fromkeys(_parts(scale, bias))))


def _affine(
    owner: str,
    key: Key,
    shape: tuple[int, ...],
    dtype: Any,
    scale_init: Initializer | None,
    bias_init: Initializer | None,
) -> dict[str, jax.Array]:
    """The weights ``scale`` and ``bias``, each left out when its initialiser is None."""
    wanted = {"scale": scale_init, "bias": bias_init}
    return {
        part: drawn(owner, f"{part}_init", init, fold_name(key, part), shape, dtype)
        for part, init in wanted.items()
        if init
    }


def _given(weights: Weights, scale: bool, bias: bool) -> dict[str, jax.Array]:
    return {part: weights[part] for part in _parts(scale, bias)}


def _parts(scale: bool, bias: bool) -> list[str]:
    """The entries of the weights; the ops compare their shapes to that of x."""
    return [part for part, wanted in (("scale", scale), ("bias", bias)) if wanted]


def _sizes(name: str, x: Any, axes: int | Sequence[int]) -> tuple[int, ...]:
    """The sizes of ``axes`` of ``x``; raises if the batch axis is one: rows must not see each other."""
    over = checks.axes(name, axes, checks.one_shape(name, x).shape)
    if 0 in over:
        raise ValueError(f"{name}: axes must not hold the batch axis, axis 0, got {axes} for x {x.shape}")
    return tuple(x.shape[axis] for axis in over)
