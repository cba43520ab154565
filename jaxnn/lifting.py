"""Plain functions of one array as layers without weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from importlib import import_module
from typing import Any

import jax

from jaxnn.layer import Layer, stateless
from jaxnn.made import Made
from jaxnn.ops import checks

LayerLike = Layer | Callable[[Any], Any]  #: a layer, or a plain function of one array


def as_layer(layer: LayerLike) -> Layer:
    """The layer itself, or a plain function of one array as a layer without weights."""
    return given_layer("as_layer", "a layer", layer)


def given_layer(owner: str, argument: str, layer: LayerLike) -> Layer:
    """``as_layer`` of what was given to the function ``owner`` as ``argument``."""
    if isinstance(layer, Layer):
        return layer
    checks.function(owner, argument, layer, "a Layer or a function of one array")
    function, name = layer, _function_name(layer)
    if address := _address(function):  # pickled by this address, not as code
        check = checks.array if _is_activation(layer) else checks.arrays
        lifted = stateless(
            name,
            lambda key, x: {},
            lambda weights, x: _traced_once(*address)(check(name, x)),
            entries={},
        )
    else:
        lifted = stateless(name, lambda key, x: {}, lambda weights, x: function(x), entries={})
    return replace(lifted, made=Made(function, lifted=True))


def _address(function: Callable[..., Any]) -> tuple[str, str] | None:
    """The module and the name of a function of JAX or of this library, which are known to be pure."""
    module, name = (str(getattr(function, part, "")) for part in ("__module__", "__qualname__"))
    if module.partition(".")[0] not in ("jax", "jaxnn"):
        return None
    return (module, name) if getattr(import_module(module), name, None) is function else None


def _is_activation(function: Callable[..., Any]) -> bool:
    """Whether it is a function of ``jax.nn``: few of these reject several arrays with a clear sentence."""
    return ".nn." in f"{getattr(function, '__module__', '')}."


@cache
def _traced_once(module: str, name: str) -> Callable[..., Any]:
    """The function ``name`` of ``module``, traced once per shape instead of at every call."""
    return jax.jit(getattr(import_module(module), name), inline=True)


def _function_name(function: Callable[..., Any]) -> str:
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__).strip("<>_")
