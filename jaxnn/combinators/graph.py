"""``graph``: any data flow between named layers. The combinator that the others are built on."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.combinators.location import add_location
from jaxnn.layer import (
    Apply,
    Call,
    Init,
    Key,
    Keyless,
    Layer,
    LayerLike,
    Params,
    Spec,
    State,
    as_layer,
    as_spec,
    fold_name,
    require_params,
)


class Parts:
    """The layers of a graph, to be called: ``f.encoder(x)``."""

    def __init__(self, owner: str, names: frozenset[str], call: Callable[[str, Any], Any]):
        self._owner, self._names, self._call = owner, names, call

    def __getattr__(self, part: str) -> Callable[[Any], Any]:
        if part not in self._names:
            raise AttributeError(
                f"{self._owner}: no layer is called {part!r}; there are {', '.join(sorted(self._names))}"
            )
        return partial(self._call, part)


Flow = Callable[[Parts, Any], Any]

#: By a composite's ``apply``: its ``init``, and what it gives for an input, which that has found out. Whoever
#: holds it as a part need not go through it again.
_OUTPUTS: WeakKeyDictionary[Apply, tuple[Init, Callable[[Any], Any]]] = WeakKeyDictionary()


def _output(layer: Layer, x: Any) -> Any:
    """What ``layer`` gives for ``x``, if it is a composite and shape and dtype say all of both; or None."""
    init, output = _OUTPUTS.get(layer.apply, (None, None))
    weak = any(getattr(leaf, "weak_type", False) for leaf in jax.tree.leaves(x))
    if output is None or init is not layer.init or weak:
        return None
    specs = output(as_spec(x))
    for leaf in jax.tree.leaves(specs):
        if leaf.weak_type or leaf.sharding is not None or jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
            return None
    return specs


def graph(fn: Flow, /, **layers: LayerLike) -> Layer:
    """Any data flow between layers, written as a function of them and the input.

    Shapes: whatever ``fn`` takes → whatever it gives (arrays or pytrees of them).

    ``fn(f, x)`` calls the layers by name, ``f.encoder(x)``, with any JAX in between. It must be pure and is
    traced for inference, for training and for shapes alike. A layer called twice shares its weights; its
    state is threaded in call order, and each call in training has a key of its own.

    Args:
      fn: the data flow.
      **layers: layers, or plain functions of one array, by name.

    Raises:
      ValueError: a layer is never called, or params come from another net.
      AttributeError: ``fn`` calls a layer that is not there.

    >>> import jax, jaxnn as nn
    >>> tied = nn.graph(lambda f, x: f.half(f.half(x)) + x, half=nn.dense(4))
    >>> params = tied.init(jax.random.key(0), (1, 4))
    >>> jax.tree.map(lambda w: w.shape, params.weights)
    {'half': {'bias': (4,), 'kernel': (4, 4)}}
    """
    return composite("graph", fn, layers)


def composite(name: str, fn: Flow, layers: Mapping[str, LayerLike]) -> Layer:
    """A layer called ``name`` whose parts are ``layers`` and whose data flow is ``fn``; see ``graph``."""
    parts = {part: as_layer(layer) for part, layer in layers.items()}
    names = frozenset(parts)

    def run(call: Callable[[str, Any], Any], x: Any) -> Any:
        def located(part: str, x: Any) -> Any:
            try:
                return call(part, x)
            except Exception as error:
                add_location(error, name, part, x)
                raise

        return fn(Parts(name, names, located), x)

    # `init` asks for the inputs of its parts, and so do they for theirs, at every level twice: once to find
    # the shapes behind them and once to be initialised. Remembering keeps that linear in the depth.
    @lru_cache(maxsize=64)
    def found(treedef: Any, *leaves: jax.ShapeDtypeStruct) -> tuple[dict[str, Any], Any]:
        """The inputs of all parts, and the output."""
        seen: dict[str, Any] = {}

        def walk(key: Key, x: Any) -> Any:
            def call(part: str, x: Any) -> Any:
                layer, spec = parts[part], as_spec(x)
                first = seen.setdefault(part, spec)
                output = _output(layer, x) if spec == first else None
                if output is not None:
                    return jax.tree.map(lambda y: lax.empty(y.shape, y.dtype), output)
                return layer.apply(layer.init(key, first), x)

            return run(call, x)

        output = jax.eval_shape(walk, jax.random.key(0), jax.tree.unflatten(treedef, leaves))
        if idle := names - seen.keys():
            raise ValueError(f"{name}: {', '.join(sorted(idle))} is never called, so its input is unknown")
        return seen, output

    def remembered(spec: Any) -> tuple[dict[str, Any], Any]:
        leaves, treedef = jax.tree.flatten(spec)
        return found(treedef, *leaves)

    def init(key: Key, shape: Spec, /) -> Params:
        inputs, _ = remembered(as_spec(shape))
        inited = {part: layer.init(fold_name(key, part), inputs[part]) for part, layer in parts.items()}
        return Params(
            {part: p.weights for part, p in inited.items() if jax.tree.leaves(p.weights)},
            {part: p.state for part, p in inited.items() if jax.tree.leaves(p.state)},
        )

    def check(params: Params) -> None:
        require_params(name, params)
        if strangers := (params.weights.keys() | params.state.keys()) - names:
            raise ValueError(
                f"{name}: params of another net: they are for {', '.join(sorted(strangers))}, but the layers "
                f"here are {', '.join(parts) or 'none'}"
            )

    def visit(params: Params, x: Any, call: Call, /) -> Any:
        check(params)

        def call_part(part: str, x: Any) -> Any:
            own = Params(params.weights.get(part, {}), params.state.get(part, {}))
            return call(part, parts[part], own, x)

        return run(call_part, x)

    def apply(params: Params, x: Any, /) -> Any:
        return visit(params, x, lambda part, layer, params, x: layer.apply(params, x))

    def train(params: Params, x: Any, key: Key | None = None, /) -> tuple[Any, State]:
        check(params)
        state = dict(params.state)
        calls: Counter[str] = Counter()

        def call(part: str, x: Any) -> Any:
            part_key = None
            if key is not None and not isinstance(parts[part].train, Keyless):
                part_key = fold_name(key, part)
                if calls[part]:
                    part_key = jax.random.fold_in(part_key, calls[part])
            calls[part] += 1
            own = Params(params.weights.get(part, {}), state.get(part, {}))
            y, new = parts[part].train(own, x, part_key)
            if part in state:
                state[part] = new
            return y

        return run(call, x), state

    _OUTPUTS[apply] = init, lambda spec: remembered(spec)[1]
    draws = not all(isinstance(layer.train, Keyless) for layer in parts.values())
    return Layer(name, init, apply, train if draws else Keyless(train), visit)
