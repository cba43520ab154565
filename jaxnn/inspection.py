"""What is in a net: ``summary``, a table of its layers."""

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

    def walk(path: str, layer: Layer, params: Params, x: Any) -> Any:
        if layer.visit is not None:
            prefix = f"{path}/" if path else ""
            return layer.visit(params, x, lambda part, *call: walk(prefix + part, *call))
        y = layer.apply(params, x)
        rows.append(
            Row(path or layer.name, layer.name, as_spec(y), _count(params.weights), _count(params.state))
        )
        return y

    spec = as_spec(shape)
    params = jax.eval_shape(lambda: net.init(jax.random.key(0), spec))
    jax.eval_shape(lambda params, x: walk("", net, params, x), params, spec)
    return Summary(tuple(rows), _count(params.weights), _count(params.state))


def _count(tree: Any) -> int:
    return sum(prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _shapes(spec: Any) -> str:
    return str(jax.tree.map(lambda leaf: leaf.shape, spec))
