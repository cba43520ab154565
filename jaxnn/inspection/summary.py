"""``summary``: a table of the layers of a net."""

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import jax

from jaxnn.inspection.flops import count_flops
from jaxnn.inspection.receptive_field import FREE, extent, input_field, run
from jaxnn.inspection.table import Table, short
from jaxnn.inspection.walk import walk
from jaxnn.layer import Layer
from jaxnn.lifting import LayerLike, given_layer
from jaxnn.params import Params
from jaxnn.shapes import Spec, given_spec, value_spec


@dataclass(frozen=True)
class Row:
    """One layer of a net.

    Attributes:
      path: the names that lead to it, joined by ``/``; with ``:1`` when it is called for the second time.
      layer: the layer.
      output: a ``jax.ShapeDtypeStruct`` of its output, or a pytree of them.
      weights: how many numbers an optimiser may change in it.
      state: how many further numbers it holds.
      flops: its floating-point operations for a batch of this shape, None where they depend on values.
      field: its receptive field, one extent per spatial axis of the net's input; None where there is no
        such axis, or the layer cannot be followed.
    """

    path: str
    layer: str
    output: Any
    weights: int
    state: int
    flops: int | None
    field: tuple[int, ...] | None


@dataclass(frozen=True)
class Summary:
    """The layers of a net in the order in which they are called; prints as a table, as HTML in a notebook.

    ``weights`` and ``state`` count what is shared once; ``flops`` is that of the whole net, including what is
    computed between the layers. ``spatial`` says whether the input has axes for receptive fields.
    """

    rows: tuple[Row, ...]
    weights: int
    state: int
    flops: int | None
    spatial: bool

    def _table(self) -> Table:
        head = ("layer", "output", "weights", "state", "FLOPs", "field")
        body = [
            (r.path, _shapes(r.output), f"{r.weights:,}", f"{r.state:,}", short(r.flops), _extent(r.field))
            for r in self.rows
        ]
        total = ("total", "", f"{self.weights:,}", f"{self.state:,}", short(self.flops), "")
        columns = len(head) if self.spatial else len(head) - 1
        return Table(head[:columns], [row[:columns] for row in body], total[:columns], left=2)

    def __str__(self) -> str:
        return self._table().text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._table().html()


def summary(net: LayerLike, shape: Spec) -> Summary:
    """The layers of a net for an input of ``shape``: outputs, weights, operations, receptive fields.

    Nothing is computed; the net is traced. A layer that is called twice is listed twice, and so are its
    weights; the totals count them once. What a wrapper around several layers holds itself, the magnitudes of
    ``weight_norm`` and the vectors of ``spectral_norm``, is in the totals alone.

    FLOPs are those of inference for one batch of this shape, counted in the traced program, so that any
    function counts. A multiply-add is 2: a matrix product or a convolution counts 2 per product, including
    products with padding, but not those with the zeros that a transposed convolution puts between its inputs;
    a reduction counts 1 per input value, a sliding window 1 per value under it, any other function 1 per
    output value, whether it is a sum or a tanh; a scan counts its body times its length, a condition its most
    expensive branch. Moving and casting values and integer arithmetic count nothing. The total is that of the
    whole net, with what is computed between its layers.

    The receptive field is how many places of each spatial axis of the input, (N, *space, C), the centre of a
    layer's output depends on: from the first to the last, within the given input, for the channel that sees
    most. The field is followed through the program exactly: through strides, dilation, transposed
    convolutions, resizing, skips, and step by step through recurrences. A dash stands where that is
    impossible (in a loop of unknown length, say). An input without spatial axes has no such column.

    >>> import jaxnn as nn
    >>> print(nn.summary(nn.serial(nn.conv(8, 3), nn.relu, nn.max_pool(2), nn.flatten, head=nn.dense(2)),
    ...                  (1, 12, 12, 3)))
    layer       output          weights  state   FLOPs  field
    ─────────────────────────────────────────────────────────
    conv_0      (1, 10, 10, 8)      224      0    44 k    3×3
    relu_0      (1, 10, 10, 8)        0      0     800    3×3
    max_pool_0  (1, 5, 5, 8)          0      0     600    4×4
    flatten_0   (1, 200)              0      0       0    4×4
    head        (1, 2)              402      0     802  12×12
    ─────────────────────────────────────────────────────────
    total                           626      0  46.2 k
    """
    net = given_layer("summary", "net", net)
    rows: list[Row] = []

    def seen(params: Params, x: Any) -> Any:
        outputs: list[Any] = []  # from the trace, discarded with it

        def call(path: str, layer: Layer, params: Params, x: Any) -> Any:
            y = layer.apply(params, x)
            weights, state = map(_count, params)
            flops = count_flops(jax.make_jaxpr(layer.apply)(*value_spec("summary", (params, x))))
            rows.append(Row(path, layer.name, value_spec("summary", y), weights, state, flops, None))
            outputs.append(jax.tree.leaves(y)[:1])
            return y

        return outputs, walk(net, params, x, call)

    spec = given_spec("summary", shape)
    params = jax.eval_shape(lambda: net.init(jax.random.key(0), spec))
    program = jax.make_jaxpr(seen)(params, spec)
    spatial = isinstance(spec, jax.ShapeDtypeStruct) and len(spec.shape) > 2
    if spatial:
        free = [FREE] * len(jax.tree.leaves(params))
        fields = iter(run(program, [*free, input_field(spec.shape)]))
        rows = [
            replace(row, field=extent(next(fields)) if jax.tree.leaves(row.output) else None) for row in rows
        ]
    return Summary(tuple(rows), _count(params.weights), _count(params.state), count_flops(program), spatial)


def _count(tree: Any) -> int:
    return sum(prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _shapes(spec: Any) -> str:
    return str(jax.tree.map(lambda leaf: leaf.shape, spec))


def _extent(field: tuple[int, ...] | None) -> str:
    return "—" if field is None else "×".join(map(str, field))
