"""A tagger of sequences."""

from __future__ import annotations

from typing import Any

from jaxnn.combinators import graph, stacked
from jaxnn.layer import Layer, constructor
from jaxnn.layers import dense, embedding, lstm
from jaxnn.ops import checks


@constructor
def lstm_tagger(
    vocabulary: int, tags: int, *, features: int = 100, hidden: int = 128, depth: int = 2
) -> Layer:
    """A bidirectional LSTM tagger: ids (N, T), or (ids, lengths) → logits (N, T, tags).

    An embedding, ``depth`` bidirectional LSTMs and a dense layer at each step. With ``lengths``, (N,), what
    follows the end of a sequence has no influence on it.

    Args:
      vocabulary: ids are 0 … vocabulary − 1.
      tags: the number of outputs per step.
      features: the size of an embedding.
      hidden: the size of the state of each direction.
      depth: the number of bidirectional LSTMs.

    Source: Graves and Schmidhuber, Framewise Phoneme Classification with Bidirectional LSTM, 2005.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> nn.output_shape(nn.models.lstm_tagger(1000, 17), jax.ShapeDtypeStruct((1, 20), jnp.int32))
    (1, 20, 17)
    """
    owner = "lstm_tagger"
    vocabulary = checks.integer(owner, "vocabulary", vocabulary, least=1)
    tags = checks.integer(owner, "tags", tags, least=1)
    features = checks.integer(owner, "features", features, least=1)
    hidden = checks.integer(owner, "hidden", hidden, least=1)
    depth = checks.integer(owner, "depth", depth, least=1)

    def flow(f: Any, x: Any) -> Any:
        if not isinstance(x, tuple):
            return f.fc(f.lstm(f.embedding(x)))
        ids, lengths = x
        return f.fc(f.lstm((f.embedding(ids), lengths))[0])

    stack = stacked(lstm(hidden), depth, bidirectional=True)
    return graph(flow, embedding=embedding(vocabulary, features), lstm=stack, fc=dense(tags))
