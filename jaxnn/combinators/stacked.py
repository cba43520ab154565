"""``stacked``: recurrent layers one on top of the other, in one direction or both."""

from __future__ import annotations

from typing import Any

from jaxnn.combinators.bidirectional import bidirectional as both_ways
from jaxnn.combinators.graph import Parts, composite
from jaxnn.layer import Layer, constructor
from jaxnn.layers.dropout import dropout as drop
from jaxnn.lifting import given_layer
from jaxnn.ops import checks
from jaxnn.sequences import Sequences, as_sequences


@constructor
def stacked(layer: Layer, n: int, *, bidirectional: bool = False, dropout: float = 0.0) -> Layer:
    """Recurrent layers in a row, each with weights of its own: (N, T, F) → (N, T, H).

    What PyTorch's ``num_layers``, ``bidirectional`` and ``dropout`` are: layer ``l1`` reads all outputs of
    ``l0``, and so on; with ``bidirectional=True`` each is a ``bidirectional(layer)``, (N, T, F) → (N, T,
    2·H). The result is that of the last one: with ``outputs="last"`` in ``layer``, its last output alone.

    Inputs and results have the same forms as those of ``layer``. A carry, in and out, is a tuple of that of
    each layer.

    Args:
      layer: ``nn.rnn``, ``nn.lstm``, ``nn.gru``, ``nn.conv_lstm`` with their settings, or another layer that
        treats lengths and carries as they do.
      n: how many layers there are.
      bidirectional: whether each runs in both directions.
      dropout: the probability to drop a value between two layers in training.

    Raises:
      ValueError: a carry that is not a tuple with one entry per layer, or dropout where there is one layer.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.stacked(nn.lstm(8), 2, bidirectional=True, dropout=0.2), (1, 20, 3))
    (1, 20, 16)
    """
    owner = "stacked"
    layer = given_layer(owner, "layer", layer)
    n = checks.integer(owner, "n", n, least=1)
    checks.flags(owner, bidirectional=bidirectional)
    rule = "in [0, 1], the probability to drop a value between two layers"
    dropout = checks.number(owner, "dropout", dropout, least=0, most=1, rule=rule)
    if dropout and n == 1:
        raise ValueError(
            f"{owner}: dropout must be 0 for one layer, since it stands between two, got {dropout}"
        )
    names = [f"l{i}" for i in range(n)]
    below = _of_all_steps(layer)
    parts = {
        name: both_ways(own) if bidirectional else own
        for name, own in zip(names, [below] * (n - 1) + [layer], strict=True)
    }
    returns_carry = bool(_settings(layer).get("return_carry", False))

    def flow(f: Parts, inputs: Any) -> Any:
        x, lengths, carry = as_sequences(owner, inputs)
        if carry is not None and not (isinstance(carry, tuple) and len(carry) == n):
            raise ValueError(
                f"{owner}: carry must be a tuple of {n}, that of each layer, got {checks.described(carry)}"
            )
        carries = (None,) * n if carry is None else carry
        y, finals = x if lengths is None else (x, lengths), []
        for name, own in zip(names, carries, strict=True):
            if dropout and name != names[0]:
                y = f.dropout(y)
            y = f[name](y if own is None else Sequences(*as_sequences(owner, y)[:2], own))
            if returns_carry:
                y, final = y
                finals.append(final)
        return (y, tuple(finals)) if returns_carry else y

    return composite(owner, flow, parts | ({"dropout": drop(dropout)} if dropout else {}))


def _settings(layer: Layer) -> dict[str, Any]:
    return {} if layer.made is None or layer.made.lifted else layer.made.settings()


def _of_all_steps(layer: Layer) -> Layer:
    """The same layer with all its outputs, for another one to read."""
    if _settings(layer).get("outputs", "all") == "all":
        return layer
    made = layer.made
    assert made is not None
    again: Layer = made.function(*made.args, **{**(made.kwargs or {}), "outputs": "all"})
    return again
