"""``cost``: the memory and the operations of a training step, before it is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from jaxnn.inspection.flops import count_flops
from jaxnn.inspection.table import Table, short
from jaxnn.layer import Layer
from jaxnn.lifting import LayerLike, given_layer
from jaxnn.params import Params
from jaxnn.shapes import Spec, given_spec
from jaxnn.training import arguments

if TYPE_CHECKING:
    import optax


@dataclass(frozen=True)
class Cost:
    """What a training step takes: memory in bytes, and floating-point operations.

    Attributes:
      weights, state: of the net.
      gradients: by the weights.
      optimizer: its state.
      activations: what the forward pass keeps for the backward pass.
      input: the batch.
      forward, backward: floating-point operations of each pass; None where they depend on values.

    Prints as a table, as HTML in a notebook.
    """

    weights: int
    state: int
    gradients: int
    optimizer: int
    activations: int
    input: int
    forward: int | None
    backward: int | None

    @property
    def memory(self) -> int:
        """All of it, in bytes."""
        return sum((self.weights, self.state, self.gradients, self.optimizer, self.activations, self.input))

    def _table(self) -> Table:
        names = ("weights", "state", "gradients", "optimizer", "activations", "input")
        rows = [(name, _bytes_shown(getattr(self, name))) for name in names]
        rows += [(f"{name}, FLOPs", short(getattr(self, name))) for name in ("forward", "backward")]
        return Table(("training step", ""), rows, ("memory", _bytes_shown(self.memory)))

    def __str__(self) -> str:
        return self._table().text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._table().html()


def cost(net: LayerLike, shape: Spec, *, optimizer: optax.GradientTransformation | None = None) -> Cost:
    """The memory and the operations of a training step for a batch of ``shape``; nothing is computed.

    Both are those of the program as it is traced, on any platform: the activations are the values that the
    forward pass makes and the backward pass reads, so that with ``remat`` only the inputs of its layers
    count, and the backward pass computes more. FLOPs are counted as ``summary`` counts them; that of the loss
    and of the update are left out.

    A compiler may need less, where it joins operations or computes a value twice, or more, for what it
    works in. XLA's own number for CPUs, ``memory_analysis()`` of a compiled step, has its temporary memory
    within a factor of 3 of gradients and activations for the nets of the tests: 0.8 to 0.9 for dense and
    convolutional nets, 2.5 for an LSTM; it undoes ``remat``.

    Args:
      net: the layer to be trained.
      shape: that of a batch, as ``net.init`` takes it.
      optimizer: the optax optimiser whose state counts; without one, none does.

    Raises:
      TypeError, ValueError: an argument that is not as said above.

    >>> import jaxnn as nn, optax
    >>> net = nn.serial(nn.dense(256), nn.relu, nn.dense(10))
    >>> print(nn.cost(net, (64, 784), optimizer=optax.sgd(0.1, momentum=0.9)))
    training step
    ────────────────────────
    weights           814 kB
    state                0 B
    gradients         814 kB
    optimizer         814 kB
    activations       147 kB
    input             201 kB
    forward, FLOPs    26.1 M
    backward, FLOPs   26.4 M
    ────────────────────────
    memory           2.79 MB
    """
    owner = "cost"
    layer = given_layer(owner, "net", net)
    spec = given_spec(owner, shape)
    if optimizer is not None:
        arguments.optimizer(owner, optimizer)
    key = jax.eval_shape(lambda: jax.random.key(0))
    params = jax.eval_shape(lambda key: layer.init(key, spec), key)
    opt_state = () if optimizer is None else jax.eval_shape(optimizer.init, params.weights)
    forward, whole = _flops(layer, params, spec, key)
    return Cost(
        weights=_bytes(params.weights),
        state=_bytes(params.state),
        gradients=_bytes(params.weights),
        optimizer=_bytes(opt_state),
        activations=_kept(layer, params, spec, key),
        input=_bytes(spec),
        forward=forward,
        backward=None if forward is None or whole is None else whole - forward,
    )


def _train(layer: Layer, params: Params, x: Any, key: Any) -> Any:
    """The output as a function of the weights, and them."""
    return lambda weights: layer.train(params._replace(weights=weights), x, key)[0], params.weights


def _flops(layer: Layer, params: Params, x: Any, key: Any) -> tuple[int | None, int | None]:
    """Of the forward pass, and of both."""

    def both(params: Params, x: Any, key: Any) -> Any:
        y, pull = jax.vjp(*_train(layer, params, x, key))
        return pull(jax.tree.map(jnp.ones_like, y))

    return (
        count_flops(jax.make_jaxpr(layer.train)(params, x, key)),
        count_flops(jax.make_jaxpr(both)(params, x, key)),
    )


def _kept(layer: Layer, params: Params, x: Any, key: Any) -> int:
    """The bytes of the values that the backward pass is given, but for params and input."""

    def pull(params: Params, x: Any, key: Any) -> Any:
        return jax.tree.leaves(jax.vjp(*_train(layer, params, x, key))[1])

    jaxpr = jax.make_jaxpr(pull)(params, x, key).jaxpr
    given = {*map(id, jaxpr.invars), *map(id, jaxpr.constvars)}
    made = {
        id(var): var.aval for var in jaxpr.outvars if id(var) not in given and not isinstance(var, Literal)
    }
    return _bytes(list(made.values()))


def _bytes(tree: Any) -> int:
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _bytes_shown(count: int) -> str:
    text = short(count)
    return f"{text}B" if " " in text else f"{text} B"
