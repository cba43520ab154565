"""A layer whose params are kept in another form, from which its own are made whenever it runs."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from jaxnn.draft import Draft, Drafted
from jaxnn.layer import Call, Layer, Step, Train, Visit, in_pieces
from jaxnn.params import Params


def rewritten(layer: Layer, drafted: Draft, own: Callable[[Params], Params], train: Train) -> Layer:
    """``layer`` under a wrapper that keeps its params in a form of the wrapper's.

    Args:
      layer: what runs.
      drafted: draws params in the wrapper's form.
      own: those of ``layer`` from params in the wrapper's form, which it checks.
      train: in the wrapper's form.
    """

    def apply(params: Params, x: Any, /) -> Any:
        return layer.apply(own(params), x)

    def visit(inner: Visit, params: Params, x: Any, call: Call, /) -> Any:
        return inner(own(params), x, call)

    def stream(params: Params, room: int, /) -> Step:
        return in_pieces(layer, own(params), room)

    return replace(
        layer,
        init=Drafted(drafted, apply),
        apply=apply,
        train=train,
        visit=layer.visit and partial(visit, layer.visit),
        stream=layer.stream and stream,
    )
