"""Recurrences with more in a step than the fast forms know: a mask, norms, a projection, convolutions.

One form for all platforms: the input's share of the gates for all steps at once, then a scan, with the
derivative of a scan. Weights enter the loop in the accumulator's dtype, so that their gradients, which are
added up step by step, keep their digits; products round them as everywhere.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.kernels.dtypes import widened
from jaxnn.kernels.lowering.varying import sharded_along, varying_as
from jaxnn.kernels.normalisation.moments import Scope
from jaxnn.kernels.normalisation.normalised import normalised
from jaxnn.kernels.recurrence.cells import HiddenAndCell, gates, lstm_step, plus
from jaxnn.kernels.recurrence.values import by_time, where

#: ``step(carry, share) -> carry``: ``share`` is the input's part of the gates; the first array is the output.
Step = Callable[[Any, jax.Array], Any]


class Norms(NamedTuple):
    """Layer norm within an LSTM.

    Attributes:
      input_scale: (4·H,), of the input's share of the gates.
      recurrent_scale: (4·H,), of the state's share.
      cell_scale: (H,), of the cell before its last tanh.
      cell_bias: (H,), or None.
      epsilon: inside the roots.
    """

    input_scale: jax.Array
    recurrent_scale: jax.Array
    cell_scale: jax.Array
    cell_bias: jax.Array | None
    epsilon: Any


class LSTM(NamedTuple):
    """The weights of an LSTM and what is special about it; None where nothing is."""

    input_kernel: jax.Array
    recurrent_kernel: jax.Array
    bias: jax.Array | None
    state_mask: jax.Array | None = None
    projection: jax.Array | None = None
    norms: Norms | None = None

    def share(self, x: jax.Array) -> jax.Array:
        """The input's share of the gates, for one step or for all."""
        share = gates(x, self.input_kernel, None)
        if self.norms is not None:
            share = _normalised(share, self.norms.input_scale, None, self.norms.epsilon)
        return plus(share, self.bias)

    def step(self, carry: HiddenAndCell, share: jax.Array) -> HiddenAndCell:
        """One step."""
        h, c = carry
        state = gates(masked(h, self.state_mask), self.recurrent_kernel, None)
        if self.norms is None:
            h, c = lstm_step(carry, share + state)
        else:
            _, scale, cell_scale, cell_bias, epsilon = self.norms
            sums = share + _normalised(state, scale, None, epsilon)
            i, f, g, o = jnp.split(sums, 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(_normalised(c, cell_scale, cell_bias, epsilon))
        return (h if self.projection is None else gates(h, self.projection, None)), c


def masked(h: jax.Array, mask: jax.Array | None) -> jax.Array:
    """The state as the recurrent product reads it."""
    return h if mask is None else h * mask


def scanned(
    make_step: Callable[[Any], Step],
    weights: Any,
    shares: jax.Array,
    carry: Any,
    real: jax.Array | None,
    *,
    reverse: bool,
) -> tuple[jax.Array, Any]:
    """Outputs (N, T, ...) and the final carry.

    ``make_step(weights)`` gives the step. ``shares`` are (N, T, ...), and ``real``, (N, T, 1, ...), is False
    where the carry stays.
    """
    wide = jax.tree.map(widened, weights)
    dtypes = jax.tree.map(lambda a: a.dtype, weights)

    def step(carry: Any, now: tuple[jax.Array, jax.Array | None]) -> tuple[Any, jax.Array]:
        share, going = now
        following = make_step(jax.tree.map(lax.convert_element_type, wide, dtypes))(carry, share)
        following = where(going, following, carry)
        return following, jax.tree.leaves(following)[0]

    first = varying_as(sharded_along(shares, carry), (shares, weights, carry, real))
    steps = (by_time(shares), None if real is None else by_time(real))
    final, outputs = lax.scan(step, first, steps, reverse=reverse)
    return by_time(outputs), final


def _normalised(x: jax.Array, scale: jax.Array, bias: jax.Array | None, epsilon: Any) -> jax.Array:
    """x of mean 0 and variance 1 along the last axis, times ``scale``, plus ``bias``."""
    y, _, _ = normalised(Scope((x.ndim - 1,)), x, None, None, epsilon)
    y = y * jnp.expand_dims(widened(scale), tuple(range(x.ndim - 1)))
    return plus(y, bias)
