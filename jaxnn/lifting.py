"""Plain functions of one array as layers without weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from importlib import import_module
from typing import Any

import jax

from jaxnn.layer import MAKES_LAYERS, Layer, stateless
from jaxnn.made import Made
from jaxnn.ops import checks
from jaxnn.sequences import each_step, of_whole

#: Modules whose functions of one array treat each step of a sequence, (N, T, ...), on its own.
OF_EACH_STEP = {f"jaxnn.ops.{name}" for name in ("activation", "gated", "softmax", "maxout")}
#: Functions of JAX that do so.
ELEMENTWISE = {
    *("abs", "absolute", "arctan", "arcsinh", "cbrt", "ceil", "cos", "cosh", "exp", "exp2", "expm1", "fabs"),
    *("floor", "log", "log1p", "log2", "log10", "nan_to_num", "negative", "positive", "reciprocal", "rint"),
    *("round", "sign", "sin", "sinc", "sinh", "sqrt", "square", "tan", "tanh", "rsqrt", "neg"),
    *("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "swish", "sigmoid", "softplus"),
    *("sparse_plus", "sparse_sigmoid", "soft_sign", "squareplus", "hard_tanh", "hard_sigmoid", "hard_silu"),
    *("hard_swish", "mish", "log_sigmoid", "identity", "glu", "softmax", "log_softmax"),
}

LayerLike = Layer | Callable[[Any], Any]  #: a layer, or a plain function of one array


def as_layer(layer: LayerLike) -> Layer:
    """The layer itself, or a plain function of one array as a layer without weights."""
    return given_layer("as_layer", "a layer", layer)


def given_layer(owner: str, argument: str, layer: LayerLike) -> Layer:
    """``as_layer`` of what was given to the function ``owner`` as ``argument``."""
    if isinstance(layer, Layer):
        return layer
    rule = "a Layer or a function of one array"
    if isinstance(layer, tuple | list):
        raise TypeError(
            f"{checks.refusal(owner, argument, rule, layer)}; nn.serial(*layers) makes one layer of several"
        )
    checks.function(owner, argument, layer, rule)
    if hasattr(layer, MAKES_LAYERS):
        raise TypeError(
            f"{checks.refusal(owner, argument, rule, layer)}, which makes a layer: call it first, as in "
            f"nn.{_function_name(layer)}(...)"
        )
    function, name = layer, _function_name(layer)
    if address := _address(function):  # pickled by this address, not as code
        lifted = _of_known(name, *address, checks.array if _is_activation(layer) else checks.arrays)
    else:
        lifted = stateless(name, lambda key, x: {}, lambda weights, x: function(x), entries={})
    return replace(lifted, made=Made(function, lifted=True))


def _of_known(name: str, module: str, own: str, check: Callable[[str, Any], Any]) -> Layer:
    """A layer of a function that is known by its address, and with it what it makes of sequences."""

    def apply(weights: Any, x: Any) -> Any:
        return _traced_once(module, own)(check(name, x))

    def pooled(x: Any, lengths: Any) -> Any:
        return _traced_once(module, own)(check(name, x), lengths=lengths)

    if module == "jaxnn.ops.global_pool":
        over = partial(of_whole, name, pooled)
        return stateless(name, lambda key, x: {}, lambda weights, inputs: over(inputs), entries={})
    layer = stateless(name, lambda key, x: {}, apply, entries={})
    return each_step(layer) if module in OF_EACH_STEP or own in ELEMENTWISE else layer


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
