"""Shapes of a layer's outputs, without computing them."""

from __future__ import annotations

from typing import Any

import jax

from jaxnn.layer import Layer
from jaxnn.lifting import LayerLike, given_layer
from jaxnn.params import Key
from jaxnn.shapes import Spec, as_spec, given_spec


def output_shape(layer: LayerLike, shape: Spec) -> Any:
    """The shape of what ``layer.apply`` gives for an input of ``shape``. Nothing is computed.

    For several outputs: a pytree of shapes.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.conv(8, 3), (1, 28, 28, 1))
    (1, 26, 26, 8)
    """
    layer = given_layer("output_shape", "layer", layer)
    spec = given_spec("output_shape", shape)
    return jax.tree.map(lambda spec: spec.shape, output_spec(layer, spec))


def output_spec(layer: Layer, shape: Spec) -> Any:
    """Like ``output_shape``, with the dtypes: a ``jax.ShapeDtypeStruct`` or a pytree of them."""

    def infer(key: Key, x: Any) -> Any:
        return layer.apply(layer.init(key, x), x)

    return jax.eval_shape(infer, jax.random.key(0), as_spec(shape))
