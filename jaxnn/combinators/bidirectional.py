"""``bidirectional``: a recurrent layer over the sequence and over its reverse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import jax

from jaxnn.combinators.branches import merger
from jaxnn.combinators.graph import Parts, composite
from jaxnn.layer import Layer, Step, constructor
from jaxnn.lifting import given_layer
from jaxnn.ops import checks
from jaxnn.ops.sequences import reverse_sequences
from jaxnn.params import Params
from jaxnn.sequences import Sequences, as_sequences


@constructor
def bidirectional(layer: Layer, *, merge: Literal["concat", "sum"] = "concat") -> Layer:
    """A recurrent layer run in both directions, each with weights of its own: (N, T, F) → (N, T, 2·H).

    The copy called ``forward`` reads each sequence as it is, the one called ``backward`` reads it from its
    last real step to its first; outputs stand where their inputs stand. With ``outputs="last"``, the result
    is the two last outputs, that of ``backward`` being the one at t = 0: (N, T, F) → (N, 2·H).

    Inputs and results have the same forms as those of ``layer``. A carry, in and out, is a pair: for
    ``forward`` and for ``backward``. Only ``forward`` can continue from piece to piece: a stream has no last
    step to start from.

    Args:
      layer: any layer from (N, T, F) to (N, T, H) or (N, H) that treats lengths and carries as ``nn.rnn``,
        ``nn.lstm`` and ``nn.gru`` do, or a ``serial`` of them.
      merge: ``"concat"`` along the last axis, or ``"sum"``: (N, T, F) → (N, T, H).

    Raises:
      ValueError: ``merge`` is neither, or a carry is not a pair.

    Source: Schuster and Paliwal, Bidirectional Recurrent Neural Networks, 1997.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.bidirectional(nn.lstm(8)), (1, 20, 3))
    (1, 20, 16)
    >>> nn.output_shape(nn.bidirectional(nn.gru(8, outputs="last"), merge="sum"), (1, 20, 3))
    (1, 8)
    """
    layer = given_layer("bidirectional", "layer", layer)
    checks.choice("bidirectional", "merge", merge, ("concat", "sum"))
    merged = merger("bidirectional", merge)

    def flow(f: Parts, inputs: Any) -> Any:
        x, lengths, carry = as_sequences("bidirectional", inputs)
        rank = getattr(x, "ndim", 3)
        if carry is not None and not (isinstance(carry, tuple) and len(carry) == 2):
            raise ValueError("bidirectional: carry must be a pair, that of forward and that of backward")
        carries = (None, None) if carry is None else carry
        there = f.forward(_input(x, lengths, carries[0]))
        back = f.backward(_input(reverse_sequences(x, lengths), lengths, carries[1]))
        y, final = _parts(there, lengths, rank)
        y_back, final_back = _parts(back, lengths, rank)
        if y.ndim < rank:
            result = merged((y, y_back))
        else:
            both = merged((y, reverse_sequences(y_back, lengths)))
            result = both if lengths is None else (both, lengths)
        return result if final is None else (result, (final, final_back))

    def stream(params: Params, room: int) -> Step:
        raise ValueError(
            "bidirectional: x must be a whole sequence, which has a last step to start from, got a piece"
        )

    return replace(composite("bidirectional", flow, {"forward": layer, "backward": layer}), stream=stream)


def _input(x: jax.Array, lengths: Any, carry: Any) -> Any:
    return x if lengths is None and carry is None else Sequences(x, lengths, carry)


def _parts(result: Any, lengths: Any, rank: int) -> tuple[jax.Array, Any]:
    """The outputs and the carry (or None) in the result of a recurrent layer.

    That is y, (y, lengths), (y, carry) or ((y, lengths), carry); lengths are returned only with all outputs,
    which have as many axes as x, and if lengths were given.
    """
    if not isinstance(result, tuple):
        return result, None
    y, second = result
    if isinstance(y, tuple):
        return y[0], second
    return y, None if lengths is not None and y.ndim == rank else second
