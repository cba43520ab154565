"""Standardising inputs inside the net, so that a checkpoint carries the data's statistics."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnn import ops
from jaxnn.entries import require_entries
from jaxnn.kernels.dtypes import accumulator
from jaxnn.layer import Layer, constructor
from jaxnn.ops import checks
from jaxnn.ops.standardize import feature_shape
from jaxnn.params import Key, Params, State, checks_params
from jaxnn.sequences import each_step
from jaxnn.shapes import Spec, as_spec


@constructor
def standardize(data: ArrayLike | None = None, *, axes: int | Sequence[int] = 0) -> Layer:
    """Moves each feature to mean 0 and deviation 1: (N, ...) → (N, ...).

    y = (x − mean) / deviation, and x − mean where the deviation is 0, so that a feature that is constant in
    the data gives 0. No weights; state ``mean`` and ``deviation``, of the shape of one example with 1 in
    place of the sizes of ``axes``, in float32 at least.

    Args:
      data: the training set, (N, ...), from which the statistics are taken at once. Without it the mean is 0
        and the deviation 1, to be replaced by those of a checkpoint.
      axes: the axes that share statistics, the batch axis among them: 0 for each feature and place on its
        own, ``(0, 1, 2)`` for one pair per channel of images.

    Raises:
      TypeError: for integer data or input.
      ValueError: for axes without 0, no data in ``data``, or input that does not fit the statistics.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> data = jnp.array([[1.0, 5.0], [3.0, 5.0]])
    >>> layer = nn.standardize(data)
    >>> params = layer.init(jax.random.key(0), data.shape)
    >>> print(layer.apply(params, data))
    [[-1.  0.]
     [ 1.  0.]]
    """
    name = "standardize"
    checks.axes(name, axes)
    fitted = None
    if data is not None:
        x = checks.floating(name, data, "data")
        feature_shape(name, x, axes)
        fitted = ops.feature_statistics(x, axes)

    def init(key: Key, shape: Spec, /) -> Params:
        checks.key(name, key)
        x = checks.one_shape(name, as_spec(shape))
        if fitted is None:
            sizes = feature_shape(name, x, axes)
            mean, deviation = jnp.zeros(sizes, accumulator(x.dtype)), jnp.ones(sizes, accumulator(x.dtype))
        else:
            mean, deviation = fitted
        jax.eval_shape(ops.standardize, x, mean, deviation)
        return Params({}, {"mean": mean, "deviation": deviation})

    @partial(checks_params, name, entries={}, state={"mean": None, "deviation": None})
    def apply(params: Params, x: Any) -> jax.Array:
        x = checks.array(name, x)
        shape = feature_shape(name, x, axes) if fitted is None else fitted[0].shape
        require_entries(name, {"mean": shape, "deviation": shape}, params.state)
        return ops.standardize(x, params.state["mean"], params.state["deviation"])

    def train(params: Params, x: Any, /, key: Key | None = None) -> tuple[jax.Array, State]:
        checks.optional_key(name, key)
        return apply(params, x), params.state

    return each_step(Layer(name, init, apply, train, draws=False))
