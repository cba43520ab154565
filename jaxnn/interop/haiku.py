"""Haiku: a jaxnn layer as a Haiku module.

Needs Haiku, so it is imported by itself: ``from jaxnn.interop import haiku``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax

from jaxnn.lifting import LayerLike, given_layer
from jaxnn.params import Params
from jaxnn.paths import joined, leaves_by_path
from jaxnn.shapes import value_spec

__all__ = ["Module"]


class Module(hk.Module):
    """A jaxnn layer as a Haiku module, for ``hk.transform_with_state``.

    Each weight is a parameter and each array of the state a state of this module, named by its path:
    ``conv_0/kernel``.

    Args:
      net: the layer.
      name: of the module.

    ``module(x)`` is inference, ``module(x, train=True)`` is training, with a key of Haiku's if the
    layer draws.

    >>> import haiku as hk, jax, jax.numpy as jnp, jaxnn as nn
    >>> from jaxnn.interop.haiku import Module
    >>> net = nn.serial(nn.dense(3), nn.batch_norm())
    >>> run = hk.transform_with_state(lambda x, train: Module(net)(x, train=train))
    >>> x = jnp.ones((2, 4))
    >>> params, state = run.init(jax.random.key(0), x, True)
    >>> y, state = run.apply(params, state, None, x, True)
    >>> y.shape, sorted(params["serial"])
    ((2, 3), ['batch_norm_0/bias', 'batch_norm_0/scale', 'dense_0/bias', 'dense_0/kernel'])
    """

    def __init__(self, net: LayerLike, name: str | None = None):
        self.net = given_layer("Module", "net", net)
        super().__init__(name=name or self.net.name)

    def __call__(self, x: Any, *, train: bool = False) -> Any:
        spec = value_spec(self.net.name, x)
        shapes = jax.eval_shape(lambda: self.net.init(jax.random.key(0), spec))
        # Haiku asks for one array at a time, jaxnn draws all at once.
        fresh = self.net.init(hk.next_rng_key(), spec) if hk.running_init() else shapes
        weights = _each(hk.get_parameter, shapes.weights, fresh.weights)
        state = _each(hk.get_state, shapes.state, fresh.state)
        params = Params(weights, state)
        if not train:
            return self.net.apply(params, x)
        key = hk.next_rng_key() if self.net.draws and not hk.running_init() else None
        if hk.running_init():
            return self.net.apply(params, x)
        y, new = self.net.train(params, x, key)
        for path, leaf in leaves_by_path(new).items():
            hk.set_state(path, leaf)
        return y


def _each(get: Callable[..., Any], shapes: Any, fresh: Any) -> Any:
    def one(path: Any, spec: Any, value: Any) -> Any:
        return get(joined(path), spec.shape, spec.dtype, init=lambda shape, dtype: value)

    return jax.tree_util.tree_map_with_path(one, shapes, fresh)
