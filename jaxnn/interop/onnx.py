"""ONNX: a trained net for runtimes that are not JAX's."""

from __future__ import annotations

from typing import Any

from jaxnn.interop.plain import plain
from jaxnn.lifting import LayerLike, given_layer
from jaxnn.params import Params, require_params
from jaxnn.shapes import Spec, given_spec

__all__ = ["to_onnx"]


def to_onnx(net: LayerLike, params: Params, shape: Spec) -> bytes:
    """``net.apply`` with its params as an ONNX model, for inputs of one shape.

    The layout stays jaxnn's: an image is (N, H, W, C) for the model too.

    Args:
      net: the layer.
      params: its params.
      shape: that of the input, as for ``init``; the batch size in it is fixed in the model.

    Raises:
      ImportError: without jax2onnx.
      NotImplementedError: jax2onnx knows no counterpart of an operation, which it names.
    """
    layer = given_layer("to_onnx", "net", net)
    require_params("to_onnx", params)
    spec: Any = given_spec("to_onnx", shape)
    function = plain(lambda x: layer.apply(params, x), spec)
    try:
        import jax2onnx
    except ImportError:
        raise ImportError("to_onnx: needs jax2onnx: pip install jax2onnx (the extra 'onnx')") from None
    data: bytes = jax2onnx.to_onnx(function, [spec]).SerializeToString()
    return data
