"""``each_step``: a layer that knows nothing of lengths, over sequences that have them."""

from __future__ import annotations

from jaxnn import sequences
from jaxnn.layer import Layer, constructor
from jaxnn.lifting import LayerLike, given_layer


@constructor
def each_step(layer: LayerLike) -> Layer:
    """A layer that treats each step of a sequence on its own, for ``(x, lengths)``: the same shapes.

    ``(x, lengths) → (y, lengths)``, with zeros past the ends in what the layer gets and in y, so that nothing
    there has any influence. Any other input passes as it is. What jaxnn has needs no wrapper, nor do the
    elementwise functions of JAX: it is for functions and layers of one's own.

    Args:
      layer: from (N, T, ...) to (N, T, ...), each step from itself alone; params and name stay its own.

    Raises:
      ValueError: the result has other steps than x.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> net = nn.serial(nn.gru(4), nn.each_step(lambda x: 2 * x), nn.global_avg_pool)
    >>> x, lengths = jnp.ones((2, 5, 3)), jnp.array([5, 2])
    >>> net.apply(net.init(jax.random.key(0), (x, lengths)), (x, lengths)).shape
    (2, 4)
    """
    return sequences.each_step(given_layer("each_step", "layer", layer))
