"""What is in a net: ``summary``, a table of its layers, and ``activations``, what each of them gives."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import jax

from jaxnn.layer import Layer, LayerLike, Params, Spec, as_layer, as_spec


@dataclass(frozen=True)
class Row:
    """One layer of a net.

    Attributes:
      path: the names that lead to it, joined by ``/``.
      layer: what it is.
      output: a ``jax.ShapeDtypeStruct`` of what it gives, or a pytree of them.
      weights: how many numbers an optimiser may change in it.
      state: how many further numbers it holds.
    """

    path: str
    layer: str
    output: Any
    weights: int
    state: int


@dataclass(frozen=True)
class Summary:
    """The layers of a net in the order in which they are called; prints as a table."""

    rows: tuple[Row, ...]
    weights: int
    state: int

    def __str__(self) -> str:
        head = ("layer", "output", "weights", "state")
        body = [(r.path, _shapes(r.output), f"{r.weights:,}", f"{r.state:,}") for r in self.rows]
        total = ("total", "", f"{self.weights:,}", f"{self.state:,}")
        widths = [max(map(len, column)) for column in zip(head, *body, total, strict=True)]

        def line(cells: tuple[str, ...]) -> str:
            aligned = (f"{c:{'<>'[i > 1]}{w}}" for i, (c, w) in enumerate(zip(cells, widths, strict=True)))
            return "  ".join(aligned).rstrip()

        rule = "─" * len(line(total))
        return "\n".join([line(head), rule, *map(line, body), rule, line(total)])

    __repr__ = __str__


def summary(net: LayerLike, shape: Spec) -> Summary:
    """The layers of a net for an input of ``shape``: paths, output shapes, weights. Nothing is computed.

    A layer that is called twice stands there twice, and so do its weights; the totals count them once.

    >>> import jaxnn as nn
    >>> print(nn.summary(nn.serial(nn.dense(8), nn.relu, head=nn.dense(2)), (1, 4)))
    layer    output  weights  state
    ───────────────────────────────
    dense_0  (1, 8)       40      0
    relu_0   (1, 8)        0      0
    head     (1, 2)       18      0
    ───────────────────────────────
    total                 58      0
    """
    net = as_layer(net)
    rows: list[Row] = []

    def note(path: str, layer: Layer, params: Params, y: Any) -> None:
        weights, state = map(_count, params)
        rows.append(Row(path or layer.name, layer.name, as_spec(y), weights, state))

    spec = as_spec(shape)
    params = jax.eval_shape(lambda: net.init(jax.random.key(0), spec))
    jax.eval_shape(lambda params, x: _walk(net, params, x, note), params, spec)
    return Summary(tuple(rows), _count(params.weights), _count(params.state))


def activations(net: LayerLike, params: Params, x: Any) -> dict[str, Any]:
    """What every layer of a net gives in inference, by path, in the order of the calls.

    Pure: it may be jitted, mapped and differentiated like ``net.apply``, and computes the same. A layer that
    is called again gives a further entry, ``path:1``, ``path:2``, ….

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> net = nn.serial(nn.dense(8), nn.relu, head=nn.dense(2))
    >>> params = net.init(jax.random.key(0), (1, 4))
    >>> {path: y.shape for path, y in nn.activations(net, params, jnp.ones((3, 4))).items()}
    {'dense_0': (3, 8), 'relu_0': (3, 8), 'head': (3, 2)}
    """
    net = as_layer(net)
    outputs: dict[str, Any] = {}
    calls: Counter[str] = Counter()

    def note(path: str, layer: Layer, params: Params, y: Any) -> None:
        path = path or layer.name
        outputs[f"{path}:{calls[path]}" if calls[path] else path] = y
        calls[path] += 1

    _walk(net, params, x, note)
    return outputs


def _walk(
    layer: Layer, params: Params, x: Any, note: Callable[[str, Layer, Params, Any], None], path: str = ""
) -> Any:
    """``layer.apply(params, x)``, with a note of every layer in it that is not made of others."""
    if layer.visit is None:
        y = layer.apply(params, x)
        note(path, layer, params, y)
        return y

    def call(part: str, layer: Layer, params: Params, x: Any) -> Any:
        return _walk(layer, params, x, note, f"{path}/{part}" if path else part)

    return layer.visit(params, x, call)


def _count(tree: Any) -> int:
    return sum(prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _shapes(spec: Any) -> str:
    return str(jax.tree.map(lambda leaf: leaf.shape, spec))
