"""One layer under another rule: ``remat``, ``frozen``, ``mixed_precision``, ``named``."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxnn.combinators.rewritten import rewritten
from jaxnn.draft import Drafted, Draw, draft
from jaxnn.layer import Call, Layer, Step, Visit, constructor, in_pieces
from jaxnn.lifting import LayerLike, given_layer
from jaxnn.ops import checks
from jaxnn.params import Key, Params, State, checks_params, require_arguments
from jaxnn.precision import cast, cast_weights, float_dtype


@constructor
def remat(layer: LayerLike) -> Layer:
    """The same function, with inner values recomputed for the gradient instead of stored.

    Shapes, params and results: those of ``layer``. Trades time for memory; see ``jax.checkpoint``.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.remat(nn.serial(nn.dense(64), nn.relu, nn.dense(2))), (1, 4))
    (1, 2)
    """
    layer = given_layer("remat", "layer", layer)

    def apply(params: Params, x: Any, /) -> Any:
        require_arguments("remat", params, x)
        return jax.checkpoint(layer.apply)(params, x)

    def train(params: Params, x: Any, /, key: Key | None = None) -> tuple[Any, State]:
        require_arguments("remat", params, x, key)
        return jax.checkpoint(layer.train)(params, x, key)

    return replace(layer, init=Drafted(partial(draft, layer), apply), apply=apply, train=train)


@constructor
def frozen(layer: LayerLike) -> Layer:
    """The same function, with its weights kept in ``state``, where no optimiser can reach them.

    Shapes: those of ``layer``. ``params.weights`` is empty; ``params.state`` is
    ``{"weights": …, "state": …}``. Only the weights are fixed: in training, dropout still drops and
    running statistics are still updated. Gradients flow through to the input.

    >>> import jax, jaxnn as nn
    >>> params = nn.frozen(nn.dense(2)).init(jax.random.key(0), (1, 4))
    >>> params.weights, params.state["weights"]["kernel"].shape
    ({}, (4, 2))
    """
    layer = given_layer("frozen", "layer", layer)

    def drafted(key: Key, x: Any) -> tuple[Any, Draw]:
        y, draw = draft(layer, key, x)
        return y, lambda key: still(draw(key))

    def still(params: Params) -> Params:
        return Params({}, {"weights": params.weights, "state": params.state})

    @partial(checks_params, "frozen", entries={}, state={"weights": None, "state": None})
    def thawed(params: Params) -> Params:
        return Params(jax.lax.stop_gradient(params.state["weights"]), params.state["state"])

    def narrowed(params: Params, dtype: DTypeLike) -> Params:
        return still(cast_weights(layer, thawed(params), dtype))

    def train(params: Params, x: Any, /, key: Key | None = None) -> tuple[Any, State]:
        y, state = layer.train(thawed(params), x, key)
        return y, {"weights": params.state["weights"], "state": state}

    def visit(inner: Visit, params: Params, x: Any, call: Call, /) -> Any:
        def call_frozen(part: str, layer: Layer, params: Params, x: Any) -> Any:
            return call(part, frozen(layer), still(params), x)

        return inner(thawed(params), x, call_frozen)

    return replace(
        rewritten(layer, drafted, thawed, train),
        visit=layer.visit and partial(visit, layer.visit),
        cast=narrowed,
    )


@constructor
def mixed_precision(layer: LayerLike, compute: DTypeLike = jnp.bfloat16) -> Layer:
    """The same function, computed in a narrower dtype; weights, state and results keep theirs.

    Shapes: those of ``layer``. Floating-point inputs and weights are cast to ``compute`` on the way in, and
    outputs back to the input's dtype (float32 where no input is floating-point). Gradients arrive in the
    weights' own dtype. ``state`` is not cast (statistics stay float32), except for weights that ``frozen``
    keeps there.

    Args:
      layer: what to compute.
      compute: a floating-point dtype. float16 overflows above 65,504: scale the loss, or use bfloat16.

    Source: Micikevicius et al., Mixed Precision Training, 2018.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> layer = nn.mixed_precision(nn.dense(2))
    >>> params = layer.init(jax.random.key(0), (1, 4))
    >>> params.weights["kernel"].dtype, layer.apply(params, jnp.ones((1, 4))).dtype
    (dtype('float32'), dtype('float32'))
    """
    layer = given_layer("mixed_precision", "layer", layer)
    compute = checks.floating_type("mixed_precision", "compute", compute)

    def narrow(params: Params, x: Any) -> tuple[Params, Any]:
        require_arguments("mixed_precision", params, x)
        return cast_weights(layer, params, compute), cast(x, compute)

    def apply(params: Params, x: Any, /) -> Any:
        return cast(layer.apply(*narrow(params, x)), float_dtype(x))

    def train(params: Params, x: Any, /, key: Key | None = None) -> tuple[Any, State]:
        narrow_params, narrow_x = narrow(params, x)
        y, state = layer.train(narrow_params, narrow_x, key)
        if layer.cast:  # weights in the state are fixed, so they stay in their own dtype
            state = jax.tree.map(_unless_cast, params.state, narrow_params.state, state)
        return cast(y, float_dtype(x)), state

    def visit(inner: Visit, params: Params, x: Any, call: Call, /) -> Any:
        return cast(inner(*narrow(params, x), call), float_dtype(x))

    def stream(params: Params, room: int, /) -> Step:
        narrow_step = in_pieces(layer, cast_weights(layer, params, compute), room)

        def step(x: Any, carry: Any) -> tuple[Any, Any]:
            y, carry = narrow_step(cast(x, compute), carry)
            return cast(y, float_dtype(x)), carry

        return step

    return replace(
        layer,
        apply=apply,
        train=train,
        visit=layer.visit and partial(visit, layer.visit),
        stream=layer.stream and stream,
    )


def _unless_cast(old: Any, narrowed: Any, new: Any) -> Any:
    return new if jnp.result_type(narrowed) == jnp.result_type(old) else old


@constructor
def named(name: str, layer: LayerLike) -> Layer:
    """The same layer under a name of its own, which composites use unchanged.

    >>> import jax, jaxnn as nn
    >>> net = nn.serial(nn.named("stem", nn.dense(8)), nn.relu, nn.dense(2))
    >>> list(net.init(jax.random.key(0), (1, 4)).weights)
    ['stem', 'dense_0']
    """
    checks.text("named", "name", name)
    return replace(given_layer("named", "layer", layer), name=name, exact_name=True)
