"""Sequences of different lengths as the input of a layer: ``(x, lengths)``, and what a layer makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.layer import Call, Layer
from jaxnn.ops import checks
from jaxnn.ops.sequences import checked_lengths, real_only
from jaxnn.params import Key, Params, State
from jaxnn.shapes import Spec, as_spec


class Sequences(NamedTuple):
    """The full input of a layer over sequences, where ``x`` alone is not enough.

    A plain ``(x, lengths)`` means the same as ``Sequences(x, lengths)``.

    Attributes:
      x: (N, T, F).
      lengths: (N,) integers, how many steps of each sequence are real; None for all.
      carry: the initial carry, as ``return_carry=True`` gives it; None for zeros.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> layer = nn.gru(4, return_carry=True)
    >>> params = layer.init(jax.random.key(0), (2, 6, 3))
    >>> x = jnp.ones((2, 6, 3))
    >>> first, carry = layer.apply(params, x[:, :4])
    >>> rest, carry = layer.apply(params, nn.Sequences(x[:, 4:], carry=carry))
    >>> whole, _ = layer.apply(params, x)
    >>> bool(jnp.allclose(jnp.concatenate([first, rest], axis=1), whole, atol=1e-6))
    True
    """

    x: Any
    lengths: Any = None
    carry: Any = None


def as_sequences(layer: str, inputs: Any) -> Sequences:
    """The input of a recurrent layer in any of its forms as ``Sequences``."""
    if not isinstance(inputs, tuple):
        return Sequences(inputs)
    if not 1 <= len(inputs) <= 3:
        raise ValueError(
            f"{layer}: the input must be x, (x, lengths) or Sequences(x, lengths, carry), "
            f"got a tuple of {len(inputs)}"
        )
    return Sequences(*inputs)


def with_lengths(inputs: Any) -> Sequences | None:
    """``inputs`` if they are ``(x, lengths)`` or ``Sequences``, of one array or its spec; otherwise None.

    Lengths are integers with one axis, which no two other arrays that a net may pass on have in common.
    """
    if not isinstance(inputs, tuple):
        return None
    if isinstance(inputs, Sequences):
        return inputs
    if type(inputs) is not tuple or len(inputs) != 2 or len(getattr(inputs[0], "shape", ())) < 2:
        return None
    return Sequences(*inputs) if are_lengths(inputs[1]) else None


def are_lengths(value: Any) -> bool:
    """Whether ``value`` is a list of integers, or an array of them with one axis, or its spec."""
    if isinstance(value, tuple | list):
        return bool(value) and all(isinstance(entry, int | np.integer) for entry in value)
    return len(getattr(value, "shape", ())) == 1 and jnp.issubdtype(value.dtype, jnp.integer)


def spec_of_x(shape: Spec) -> Spec:
    """The spec of ``x`` where ``shape`` is that of ``(x, lengths)``; otherwise ``shape`` itself."""
    if not isinstance(shape, tuple):
        return shape
    given = with_lengths(as_spec(shape))
    return shape if given is None else given.x


def without_carry(owner: str, given: Sequences) -> tuple[jax.Array, jax.Array | None]:
    """x and the lengths as int32; raises if there is a carry, or the lengths don't fit."""
    if given.carry is not None:
        raise ValueError(
            f"{owner}: carry must be None, since this layer has nothing to carry, got "
            f"{checks.described(given.carry)}"
        )
    x = checks.array(owner, given.x)
    if given.lengths is None:
        return x, None
    if x.ndim < 2:
        raise ValueError(f"{owner}: x must be (N, T, ...) where it has lengths, got shape {x.shape}")
    return x, checked_lengths(owner, given.lengths, x)


def over_steps(owner: str, function: Callable[[Any], Any], inputs: Any) -> Any:
    """``function`` of each step on its own: of x alone, or ``(x, lengths)`` → ``(y, lengths)``.

    What stands past the ends is replaced by zeros on both sides: NaN there reaches neither values nor
    gradients.
    """
    given = with_lengths(inputs)
    if given is None:
        return function(inputs)
    x, lengths = without_carry(owner, given)
    if lengths is None:
        return function(x)
    y = function(real_only(x, lengths))
    return real_only(require_steps(owner, x, y), lengths), given.lengths


def over_time(owner: str, function: Callable[[Any, Any], Any], inputs: Any) -> Any:
    """``function(x, lengths)``, which knows of lengths and keeps the steps; results as of ``over_steps``."""
    given = with_lengths(inputs)
    if given is None:
        return function(inputs, None)
    x, lengths = without_carry(owner, given)
    y = function(x, lengths)
    return y if lengths is None else (y, given.lengths)


def of_whole(owner: str, function: Callable[[Any, Any], Any], inputs: Any) -> Any:
    """``function(x, lengths)``, which leaves no steps: ``(x, lengths)`` → y."""
    given = with_lengths(inputs)
    return function(inputs, None) if given is None else function(*without_carry(owner, given))


def require_steps(owner: str, x: jax.Array, y: Any) -> jax.Array:
    """``y``; raises unless it is one array with the steps of ``x``."""
    if jnp.shape(y)[:2] != x.shape[:2]:
        raise ValueError(
            f"{owner}: the result must have the steps of x, {x.shape[:2]}, where x has lengths, got "
            f"{checks.described(y)}"
        )
    return y


def takes_lengths(layer: Layer) -> Layer:
    """``layer``, whose functions of x take ``(x, lengths)`` too, with an ``init`` that does so as well."""

    def init(key: Key, shape: Spec, /) -> Params:
        return layer.init(key, spec_of_x(shape))

    return replace(layer, init=init)


def each_step(layer: Layer) -> Layer:
    """``layer``, which treats each step on its own, for ``(x, lengths)`` too."""

    def apply(params: Params, inputs: Any, /) -> Any:
        return over_steps(layer.name, lambda x: layer.apply(params, x), inputs)

    def train(params: Params, inputs: Any, /, key: Key | None = None) -> tuple[Any, State]:
        if not isinstance(inputs, tuple):
            return layer.train(params, inputs, key)
        states = []

        def run(x: Any) -> Any:
            y, state = layer.train(params, x, key)
            states.append(state)
            return y

        y = over_steps(layer.name, run, inputs)
        return y, states[0]

    own_visit = layer.visit

    def visit(params: Params, inputs: Any, call: Call, /) -> Any:
        assert own_visit is not None
        return over_steps(layer.name, lambda x: own_visit(params, x, call), inputs)

    return replace(takes_lengths(layer), apply=apply, train=train, visit=None if own_visit is None else visit)
