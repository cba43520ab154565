"""Equinox: a jaxnn layer as an Equinox module, and the weights of plain stacks from and to such modules.

Needs Equinox, so it is imported by itself: ``from jaxnn.interop import equinox``.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.interop.torch.exchange import entries_of, loaded, require_match
from jaxnn.interop.torch.matching import Mapped, find
from jaxnn.layer import Layer
from jaxnn.lifting import LayerLike, given_layer
from jaxnn.params import Key, Params
from jaxnn.shapes import Spec

__all__ = ["Module", "load_module", "to_module"]


class Module(eqx.Module):
    """A jaxnn layer as an Equinox module, for whole batches (no ``vmap`` around it).

    Attributes:
      net: the layer.
      weights: its weights: what ``eqx.filter_grad`` differentiates.
      state: its state; no gradient passes to it. Keep an optimiser with weight decay away from it by
        ``eqx.partition(module, module.is_weight())``.

    ``module(x)`` is inference; ``module.train(x, key)`` gives the output and the module with the new state.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> from jaxnn.interop.equinox import Module
    >>> x = jnp.ones((2, 4))
    >>> module = Module.create(nn.serial(nn.dense(3), nn.batch_norm()), jax.random.key(0), x)
    >>> y, module = module.train(x)
    >>> module(x).shape
    (2, 3)
    """

    net: Layer = eqx.field(static=True)
    weights: Any
    state: Any

    @classmethod
    def create(cls, net: LayerLike, key: Key, shape: Spec) -> Module:
        """With the params that ``net.init(key, shape)`` gives."""
        layer = given_layer("Module", "net", net)
        return cls(layer, *layer.init(key, shape))

    def __call__(self, x: Any) -> Any:
        return self.net.apply(self._params(), x)

    def train(self, x: Any, key: Key | None = None) -> tuple[Any, Module]:
        y, state = self.net.train(self._params(), x, key)
        return y, Module(self.net, self.weights, state)

    def is_weight(self) -> Module:
        """The module with True for each weight and False for all else, as ``eqx.partition`` takes it."""
        weights = jax.tree.map(lambda _: True, self.weights)
        return Module(self.net, weights, jax.tree.map(lambda _: False, self.state))

    def _params(self) -> Params:
        return Params(self.weights, jax.lax.stop_gradient(self.state))


def load_module(net: LayerLike, params: Params, module: Any, mapping: Mapped | None = None) -> Params:
    """``params`` of ``net`` with the arrays of an Equinox module of layers with ``weight`` and ``bias``.

    That is dense, convolutional, norm and embedding layers. Their layouts are PyTorch's, and layers are
    matched as by ``nn.interop.torch.match``, by names such as ``layers.0``.

    Args:
      net: the layer.
      params: its params, or their shapes from ``jax.eval_shape(net.init, key, x)``.
      module: the Equinox module.
      mapping: which layer gets which module, where the names differ.

    Raises:
      ValueError: not everything on both sides fits, a sentence each; a batch norm, whose statistics Equinox
        keeps elsewhere, or a recurrent cell.

    >>> import jax, jax.numpy as jnp, equinox as eqx, jaxnn as nn
    >>> from jaxnn.interop.equinox import load_module
    >>> theirs = eqx.nn.MLP(4, 3, 8, 1, key=jax.random.key(0))
    >>> net, x = nn.serial(nn.dense(8), nn.relu, nn.dense(3)), jnp.ones((2, 4))
    >>> params = load_module(net, net.init(jax.random.key(1), x), theirs)
    >>> bool(jnp.allclose(net.apply(params, x), jax.vmap(theirs)(x), atol=1e-6))
    True
    """
    return loaded("load_module", net, params, _entries("load_module", module), mapping)


def to_module(net: LayerLike, params: Params, module: Any, mapping: Mapped | None = None) -> Any:
    """``module``, an Equinox module of the same layers as ``net``, with the arrays of ``params``.

    The inverse of ``load_module``, matched and with errors as there.
    """
    found = find("to_module", net, params, _entries("to_module", module), mapping)
    require_match("to_module", found)
    arrays = {
        found.modules[place.unit.path].names[entry]: array
        for place in found.places
        for entry, array in entries_of(place).items()
    }

    def filled(path: Any, leaf: Any) -> Any:
        name = _name(path)
        return jnp.asarray(arrays[name]).reshape(leaf.shape) if eqx.is_inexact_array(leaf) else leaf

    return jax.tree_util.tree_map_with_path(filled, module)


def _entries(owner: str, module: Any) -> dict[str, np.ndarray]:
    """The weights of ``module`` in the names and shapes of PyTorch's."""
    entries = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(module):
        if not eqx.is_inexact_array(leaf):
            continue
        name = _name(path)
        if name.rpartition(".")[2] not in ("weight", "bias"):
            raise ValueError(f"{owner}: module must hold weights called weight and bias alone, got {name}")
        # The bias of an Equinox convolution has an axis of size 1 for each spatial one.
        entries[name] = np.ravel(leaf) if name.endswith("bias") and leaf.ndim > 1 else np.asarray(leaf)
    return entries


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
