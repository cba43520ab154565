"""Flax: a jaxnn layer as a Linen or NNX module, and the weights of plain stacks from and to both.

Needs Flax, so it is imported by itself: ``from jaxnn.interop import flax``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import linen, nnx

from jaxnn.interop.torch.convert import RECURRENT
from jaxnn.interop.torch.exchange import loaded, saved
from jaxnn.interop.torch.matching import Mapped
from jaxnn.interop.units import units
from jaxnn.layer import Layer
from jaxnn.lifting import LayerLike, given_layer
from jaxnn.params import Params, require_params

__all__ = ["Linen", "Nnx", "load_variables", "to_variables"]


class Linen(linen.Module):
    """A jaxnn layer as a Linen module: ``params`` hold its weights, the collection ``state`` its state.

    Attributes:
      net: the layer.

    Call it with ``train=True`` for training, where ``state`` must be mutable, and a key is taken from the
    stream ``dropout`` if the layer draws.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> from jaxnn.interop.flax import Linen
    >>> module, x = Linen(nn.serial(nn.dense(3), nn.batch_norm())), jnp.ones((2, 4))
    >>> variables = module.init(jax.random.key(0), x)
    >>> y, updates = module.apply(variables, x, train=True, mutable="state")
    >>> y.shape, sorted(variables)
    ((2, 3), ['params', 'state'])
    """

    net: Layer

    @linen.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        net = given_layer("Linen", "net", self.net)
        fresh = net.init(self.make_rng("params"), x) if self.is_initializing() else None
        weights = self.param("weights", lambda key: fresh and fresh.weights)
        state = self.variable("state", "state", lambda: fresh and fresh.state)
        params = Params(weights, state.value)
        if not train:
            return net.apply(params, x)
        y, new = net.train(params, x, self.make_rng("dropout") if net.draws else None)
        if not self.is_initializing():
            state.value = new
        return y


class Nnx(nnx.Module):
    """A jaxnn layer as an NNX module: its weights are ``nnx.Param``, its state is ``nnx.BatchStat``.

    Args:
      net: the layer.
      x: an input, or its spec, as for ``init``.
      rngs: gives the key of ``init``, and of ``train`` if the layer draws (the stream ``dropout``).

    As any NNX module it starts in training mode, and ``train()`` and ``eval()`` switch. In training the state
    is updated in place.

    >>> import jax.numpy as jnp, jaxnn as nn
    >>> from flax import nnx
    >>> from jaxnn.interop.flax import Nnx
    >>> module = Nnx(nn.serial(nn.dense(3), nn.batch_norm()), jnp.ones((2, 4)), rngs=nnx.Rngs(0))
    >>> module.eval()
    >>> module(jnp.ones((2, 4))).shape
    (2, 3)
    """

    def __init__(self, net: LayerLike, x: Any, *, rngs: nnx.Rngs):
        self.net = given_layer("Nnx", "net", net)
        params = self.net.init(rngs.params(), x)
        self.weights = nnx.data(jax.tree.map(nnx.Param, params.weights))
        self.state = nnx.data(jax.tree.map(nnx.BatchStat, params.state))
        self.rngs = rngs if self.net.draws else None
        self.deterministic = False  # the name by which NNX's train() and eval() find it

    def __call__(self, x: Any) -> Any:
        params = Params(*(_values(tree) for tree in (self.weights, self.state)))
        if self.deterministic:
            return self.net.apply(params, x)
        y, new = self.net.train(params, x, self.rngs.dropout() if self.rngs else None)
        for variable, value in zip(_variables(self.state), jax.tree.leaves(new), strict=True):
            variable.set_value(value)
        return y


def _is_variable(leaf: Any) -> bool:
    return isinstance(leaf, nnx.Variable)


def _variables(tree: Any) -> list[Any]:
    return jax.tree.leaves(tree, is_leaf=_is_variable)


def _values(tree: Any) -> Any:
    return jax.tree.map(lambda variable: variable.get_value(), tree, is_leaf=_is_variable)


# --- weights of plain stacks ---

#: Entries of Flax's modules, and what the same entries are called in PyTorch's.
NAMES = {
    "kernel": "weight",
    "scale": "weight",
    "embedding": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
STATISTICS = ("mean", "var")


def load_variables(net: LayerLike, params: Params, variables: Any, mapping: Mapped | None = None) -> Params:
    """``params`` of ``net`` with the arrays of a Flax net of dense, conv, norm and embedding layers.

    Modules are matched as by ``nn.interop.torch.match``: by name, by order and shape, or by ``mapping``. A
    dense layer behind ``flatten`` needs nothing, since Flax flattens channels last too.

    Args:
      net: the layer.
      params: its params, or their shapes from ``jax.eval_shape(net.init, key, x)``.
      variables: Linen's variables, or ``nnx.state(model)``.
      mapping: which layer gets which module, ``{"dense_0": "Dense_0"}``, where the names differ.

    Raises:
      ValueError: not everything on both sides fits, a sentence each; a transposed convolution, whose kernel
        Flax flips, or a recurrent layer, whose gates it keeps apart: ``docs/conventions.md`` has formulas.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> from flax import linen
    >>> from jaxnn.interop.flax import load_variables
    >>> theirs, x = linen.Sequential([linen.Dense(3), linen.relu]), jnp.ones((2, 4))
    >>> variables = theirs.init(jax.random.key(1), x)
    >>> net = nn.serial(nn.dense(3), nn.relu)
    >>> params = load_variables(net, net.init(jax.random.key(0), x), variables)
    >>> bool((net.apply(params, x) == theirs.apply(variables, x)).all())
    True
    """
    _refuse("load_variables", net, params)
    entries: dict[str, Any] = {}
    for path, array in _leaves(variables):
        name = ".".join([*path[:-1], NAMES[path[-1]]])
        entries[name] = np.asarray(_channels_first(path[-1], array))
    return loaded("load_variables", net, params, entries, mapping, channels_last=True)


def to_variables(net: LayerLike, params: Params, mapping: Mapped | None = None) -> dict[str, Any]:
    """The arrays of ``params`` as Linen's variables, ``{"params": ..., "batch_stats": ...}``, nested by path.

    The inverse of ``load_variables``, with the same restrictions.
    """
    _refuse("to_variables", net, params)
    variables: dict[str, Any] = {"params": {}}
    names = {"weight": "kernel", "bias": "bias", "running_mean": "mean", "running_var": "var"}
    for place, entry, array in saved("to_variables", net, params, mapping, channels_last=True):
        if entry == "num_batches_tracked":
            continue
        kind = place.unit.kind
        name = names[entry]
        if name == "kernel" and kind == "embedding":
            name = "embedding"
        elif name == "kernel" and array.ndim == 1:
            name = "scale"
        node = variables.setdefault("batch_stats" if name in STATISTICS else "params", {})
        for part in place.theirs.split("."):
            node = node.setdefault(part, {})
        node[name] = _channels_last(name, array)
    return variables


def _refuse(owner: str, net: LayerLike, params: Params) -> None:
    """Raises for the layers whose arrays are not the same in Flax."""
    reasons = {
        "conv_transpose": "Flax flips the kernel of a transposed convolution",
        **dict.fromkeys(RECURRENT, "Flax keeps the gates of a recurrent layer apart"),
    }
    require_params(owner, params)
    for unit in units(given_layer(owner, "net", net), params):
        if unit.kind in reasons:
            raise ValueError(
                f"{owner}: {unit.path}: {reasons[unit.kind]}; docs/conventions.md has the formulas"
            )


def _leaves(variables: Any) -> list[tuple[tuple[str, ...], Any]]:
    """The arrays of Linen's variables or of an NNX state by path, the collections taken together."""
    if isinstance(variables, nnx.State):
        tree: Any = nnx.to_pure_dict(variables)
        roots = [tree]
    elif isinstance(variables, Mapping) and "params" in variables:
        roots = [variables["params"], variables.get("batch_stats", {})]
    else:
        raise TypeError(
            "load_variables: variables must be Linen's, with an entry 'params', or nnx.state(model), got "
            f"{type(variables).__name__}"
        )
    found = []
    for root in roots:
        for path, leaf in jax.tree_util.tree_leaves_with_path(root):
            names = tuple(str(getattr(part, "key", part)) for part in path)
            if "rngs" in names:  # an NNX module's own random numbers
                continue
            if names[-1] not in NAMES:
                raise ValueError(
                    "load_variables: variables must hold kernel, bias, scale, embedding, mean, var only, got "
                    f"{'/'.join(names)}"
                )
            found.append((names, leaf))
    return found


def _channels_first(name: str, array: Any) -> Any:
    return np.moveaxis(np.asarray(array), (-1, -2), (0, 1)) if name == "kernel" else array


def _channels_last(name: str, array: Any) -> Any:
    return np.moveaxis(array, (0, 1), (-1, -2)) if name == "kernel" else array
