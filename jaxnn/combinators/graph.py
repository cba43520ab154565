"""``graph``: any data flow between named layers. The combinator that the others are built on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any

import jax
from jax.typing import DTypeLike

from jaxnn.combinators.location import add_location
from jaxnn.draft import Drafted, Draw, draft
from jaxnn.layer import Call, Layer, Step, constructor, in_pieces
from jaxnn.lifting import LayerLike, given_layer
from jaxnn.ops import checks
from jaxnn.params import Key, Params, State, fold_name, require_params
from jaxnn.precision import cast_weights
from jaxnn.shapes import value_spec


class Parts:
    """The layers of a graph, to be called: ``f.encoder(x)``, or ``f["any name at all"](x)``."""

    def __init__(self, owner: str, names: Collection[str], call: Callable[[str, Any], Any]):
        self._own = owner, names, call

    # Called for every attribute, so that no attribute of Python or of this class hides a part.
    def __getattribute__(self, name: str) -> Any:
        owner, names, call = object.__getattribute__(self, "_own")
        if name in names:
            return partial(call, name)
        if name.startswith("__") and name.endswith("__"):
            return object.__getattribute__(self, name)
        raise AttributeError(f"{owner}: no layer is called {name!r}; there are {', '.join(sorted(names))}")

    def __getitem__(self, name: str) -> Callable[[Any], Any]:
        return getattr(self, name)


#: Whether a composite is being run: the outermost one puts its own name in front of the paths.
_WITHIN: ContextVar[bool] = ContextVar("within a net", default=False)

Flow = Callable[[Parts, Any], Any]


@constructor
def graph(fn: Flow, /, **layers: LayerLike) -> Layer:
    """Any data flow between layers, written as a function of them and the input.

    Shapes: whatever ``fn`` takes → whatever it gives (arrays or pytrees of them).

    ``fn(f, x)`` calls the layers by name, ``f.encoder(x)``, with any JAX in between; ``f["encoder"](x)`` is
    the same for names of any form. It must be pure and is traced for inference, for training and for shapes
    alike. A layer called twice shares its weights; its state is threaded in call order, and each call in
    training has a key of its own.

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
    checks.function("graph", "fn", fn)
    return composite("graph", fn, layers)


def composite(name: str, fn: Flow, layers: Mapping[str, LayerLike]) -> Layer:
    """A layer called ``name`` whose parts are ``layers`` and whose data flow is ``fn``; see ``graph``."""
    return Composite(
        name, fn, {part: given_layer(name, part, layer) for part, layer in layers.items()}
    ).layer()


class Composite:
    """A data flow and its parts, with the functions of the layer that they make.

    ``params`` has an entry per part, except parts whose weights (or state) are ``{}``.
    """

    def __init__(self, name: str, fn: Flow, parts: Mapping[str, Layer]):
        self.name, self.fn, self.parts = name, fn, parts

    def layer(self) -> Layer:
        parts = self.parts.values()
        return Layer(
            self.name,
            Drafted(self.draft, self.apply),
            self.apply,
            self.train,
            self.visit,
            draws=any(part.draws for part in parts),
            cast=self.cast if any(part.cast for part in parts) else None,
            stream=self.stream if any(part.stream for part in parts) else None,
            parts=self.parts,
        )

    def draft(self, key: Key, x: Any) -> tuple[Any, Draw]:
        inputs: dict[str, Any] = {}
        draws: dict[str, Draw] = {}

        def call(part: str, x: Any) -> Any:
            layer = self.parts[part]
            if part in draws:
                return layer.apply(draws[part](key), x)
            inputs[part] = value_spec(layer.name, x)
            y, draws[part] = draft(layer, key, x)
            return y

        def draw(key: Key) -> Params:
            def drawn(part: str, _: Any) -> Params:
                return draws[part](fold_name(key, part))

            return _joined({part: self._located(drawn, part, inputs[part]) for part in self.parts})

        y = self._run(call, x)
        if idle := self.parts.keys() - draws.keys():
            raise ValueError(
                f"{self.name}: {', '.join(sorted(idle))} is never called, so its input is unknown"
            )
        return y, draw

    def apply(self, params: Params, x: Any, /) -> Any:
        return self.visit(params, x, lambda part, layer, params, x: layer.apply(params, x))

    def visit(self, params: Params, x: Any, call: Call, /) -> Any:
        self._check(params)
        return self._named(lambda part, x: call(part, self.parts[part], _own(params, part), x), x)

    def train(self, params: Params, x: Any, /, key: Key | None = None) -> tuple[Any, State]:
        self._check(params)
        checks.optional_key(self.name, key)
        state = dict(params.state)
        calls: Counter[str] = Counter()

        def call(part: str, x: Any) -> Any:
            layer, part_key = self.parts[part], None
            if key is not None and layer.draws:
                part_key = fold_name(key, part)
                if calls[part]:
                    part_key = jax.random.fold_in(part_key, calls[part])
            calls[part] += 1
            y, new = layer.train(_own(Params(params.weights, state), part), x, part_key)
            if part in state:
                state[part] = new
            return y

        return self._named(call, x), state

    def cast(self, params: Params, dtype: DTypeLike, /) -> Params:
        self._check(params)
        return _joined(
            {part: cast_weights(layer, _own(params, part), dtype) for part, layer in self.parts.items()}
        )

    def stream(self, params: Params, room: int, /) -> Step:
        """The carry has, for each part, one entry per call."""
        self._check(params)
        steps = {part: in_pieces(layer, _own(params, part), room) for part, layer in self.parts.items()}

        def step(x: Any, carry: Any) -> tuple[Any, Any]:
            carries: dict[str, tuple[Any, ...]] = {}

            def call(part: str, x: Any) -> Any:
                done = carries.get(part, ())
                y, new = steps[part](x, None if carry is None else carry[part][len(done)])
                carries[part] = (*done, new)
                return y

            return self._named(call, x), carries

        return step

    def _named(self, call: Callable[[str, Any], Any], x: Any) -> Any:
        """``_run`` with the path of each part as the scope of its operations: profiles and HLO show it."""

        def named(part: str, x: Any) -> Any:
            with jax.named_scope(part):
                return call(part, x)

        if _WITHIN.get():
            return self._run(named, x)
        token = _WITHIN.set(True)
        try:
            with jax.named_scope(self.name):
                return self._run(named, x)
        finally:
            _WITHIN.reset(token)

    def _run(self, call: Callable[[str, Any], Any], x: Any) -> Any:
        return self.fn(Parts(self.name, self.parts.keys(), partial(self._located, call)), x)

    def _located(self, call: Callable[[str, Any], Any], part: str, x: Any) -> Any:
        try:
            return call(part, x)
        except Exception as error:
            add_location(error, self.name, part, x)
            raise

    def _check(self, params: Params) -> None:
        require_params(self.name, params)
        if strangers := (params.weights.keys() | params.state.keys()) - self.parts.keys():
            raise ValueError(
                f"{self.name}: params of another net: they are for {', '.join(sorted(strangers))}, but the "
                f"layers here are {', '.join(self.parts) or 'none'}"
            )


def _own(params: Params, part: str) -> Params:
    return Params(params.weights.get(part, {}), params.state.get(part, {}))


def _joined(params: Mapping[str, Params]) -> Params:
    """The inverse of ``_own``. Entries without arrays may still have a structure: only ``{}`` is left out."""
    return Params(
        {part: own.weights for part, own in params.items() if not _is_nothing(own.weights)},
        {part: own.state for part, own in params.items() if not _is_nothing(own.state)},
    )


def _is_nothing(tree: Any) -> bool:
    return isinstance(tree, dict) and not tree
