"""``once``: what is computed of a whole input while another comes in pieces."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jaxnn.layer import Layer, Step, constructor
from jaxnn.lifting import LayerLike, given_layer
from jaxnn.params import Params


@constructor
def once(layer: LayerLike) -> Layer:
    """The same function; where a sequence comes in pieces it is computed for the first one only.

    Shapes, params and results: those of ``layer``. In ``nn.generate`` the first result serves all ids that
    follow: so an encoder in a net of ``(source, ids)`` reads its source once, and may read it in both
    directions, which a layer that is fed in pieces can't.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> net = nn.graph(lambda f, x: f.head(f.attention((f.ids(x[1]), f.encoder(x[0])))),
    ...                encoder=nn.once(nn.bidirectional(nn.gru(4))), ids=nn.embedding(9, 8),
    ...                attention=nn.multi_head_attention(8, 2), head=nn.dense(9))
    >>> source, prompt = jnp.ones((2, 6, 3)), jnp.zeros((2, 1), jnp.int32)
    >>> params = net.init(jax.random.key(0), (source, prompt))
    >>> nn.generate(net, params, prompt, steps=5, temperature=0, source=source).shape
    (2, 5)
    """
    layer = given_layer("once", "layer", layer)

    def stream(params: Params, room: int, /) -> Step:
        def step(x: Any, carry: Any) -> tuple[Any, Any]:
            y = layer.apply(params, x) if carry is None else carry[0]
            return y, (y,)

        return step

    return replace(layer, stream=stream)
