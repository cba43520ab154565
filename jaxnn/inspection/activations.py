"""``activations``: what every layer of a net gives."""

from typing import Any

from jaxnn.inspection.walk import walk
from jaxnn.layer import Layer
from jaxnn.lifting import LayerLike, given_layer
from jaxnn.params import Params, require_params


def activations(net: LayerLike, params: Params, x: Any) -> dict[str, Any]:
    """What every layer of a net gives in inference, by path, in the order of the calls.

    Pure: it may be jitted, mapped and differentiated like ``net.apply``, and computes the same. A layer that
    is called again adds another entry, ``path:1``, ``path:2``, ….

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> net = nn.serial(nn.dense(8), nn.relu, head=nn.dense(2))
    >>> params = net.init(jax.random.key(0), (1, 4))
    >>> {path: y.shape for path, y in nn.activations(net, params, jnp.ones((3, 4))).items()}
    {'dense_0': (3, 8), 'relu_0': (3, 8), 'head': (3, 2)}
    """
    require_params("activations", params)
    outputs: dict[str, Any] = {}

    def call(path: str, layer: Layer, params: Params, x: Any) -> Any:
        outputs[path] = layer.apply(params, x)
        return outputs[path]

    walk(given_layer("activations", "net", net), params, x, call)
    return outputs
