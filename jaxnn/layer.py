"""The contract: what a layer is.

A layer is a name and three pure functions::

    init(key, shape)            -> Params(weights, state)
    apply(params, x)            -> y
    train(params, x, key=None)  -> (y, state)

Nothing here computes anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial, wraps
from typing import Any, ParamSpec, Protocol

from jax.typing import DTypeLike

from jaxnn.entries import Entries, check_entries
from jaxnn.made import Made, treescope_rendering
from jaxnn.ops import checks
from jaxnn.params import Key, Params, State, Weights, checks_params
from jaxnn.shapes import Spec, as_spec


class Init(Protocol):
    """``init(key, shape) -> Params``: fresh parameters for an input of this shape, batch axis included."""

    def __call__(self, key: Key, shape: Spec, /) -> Params: ...


class Apply(Protocol):
    """``apply(params, x) -> y``: inference. Deterministic, each row of the batch independently."""

    def __call__(self, params: Params, x: Any, /) -> Any: ...


class Train(Protocol):
    """``train(params, x, key=None) -> (y, state)``: training, with batch statistics and dropout."""

    def __call__(self, params: Params, x: Any, /, key: Key | None = None) -> tuple[Any, State]: ...


class Visit(Protocol):
    """``visit(params, x, call) -> y``: ``apply`` with each part run by ``call(part, layer, params, x)``.

    ``visit`` serves to look inside a net without changing it: ``call`` may note what goes in and comes out.
    """

    def __call__(self, params: Params, x: Any, call: Call, /) -> Any: ...


class Stream(Protocol):
    """``stream(params, room) -> step``, and ``step(x, carry) -> (y, carry)``: ``apply``, piece by piece.

    The first piece of a sequence has the carry None; all pieces, one after the other, give what ``apply``
    gives for the whole. ``room`` is how many steps there will be in all: carries have one size from the first
    piece on. What needs the params alone is done before the first piece.
    """

    def __call__(self, params: Params, room: int, /) -> Step: ...


Step = Callable[[Any, Any], tuple[Any, Any]]
Call = Callable[[str, "Layer", Params, Any], Any]
Cast = Callable[[Params, DTypeLike], Params]
P = ParamSpec("P")


@dataclass(frozen=True, repr=False)
class Layer:
    """A name and three pure functions.

    Attributes:
      name: what a composite calls this layer; it appends ``_0``, ``_1``, ... unless ``exact_name``.
      init: ``init(key, shape) -> Params``. ``shape`` is that of the array ``apply`` will get.
      apply: ``apply(params, x) -> y``: inference.
      train: ``train(params, x, key=None) -> (y, state)``: training; ``state`` is the whole new state.
      visit: for a layer made of layers, see ``Visit``; None for any other.
      exact_name: whether a composite uses ``name`` unchanged; set by ``named``.
      draws: whether ``train`` draws random numbers. A composite gives a key to such parts only, since
        folding in a name takes time to trace. ``replace`` keeps it: set it where the new ``train`` differs.
      made: the constructor's call that made it, which is how it prints; None for a bare ``Layer(...)``.
      parts: the layers that a composite calls by name, in the order given; None for any other layer.
      stream: for a layer that carries something from one piece of a sequence to the next, see ``Stream``. A
        layer without it is taken to treat each step on its own.
      cast: for a layer that keeps weights in its state: ``cast(params, dtype)`` gives params with all weights
        in that dtype. None where ``params.weights`` are all weights.

    >>> import jax, jaxnn as nn
    >>> layer = nn.dense(3)
    >>> layer
    dense(3)
    >>> params = layer.init(jax.random.key(0), (1, 4))
    >>> layer.apply(params, jax.numpy.ones((2, 4))).shape
    (2, 3)
    """

    name: str
    init: Init
    apply: Apply
    train: Train
    visit: Visit | None = None
    exact_name: bool = False
    draws: bool = True
    cast: Cast | None = None
    stream: Stream | None = None
    made: Made | None = field(default=None, compare=False)
    parts: Mapping[str, Layer] | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return f"Layer({self.name!r})" if self.made is None else repr(self.made)

    def __treescope_repr__(self, path: str | None, subtree_renderer: Callable[..., Any]) -> Any:
        return treescope_rendering(self, path, subtree_renderer)


def in_pieces(layer: Layer, params: Params, room: int) -> Step:
    """The ``step`` of any layer, see ``Stream``; the carry of one that has nothing to carry is ()."""
    if layer.stream is not None:
        return layer.stream(params, room)
    return lambda x, carry: (layer.apply(params, x), ())


#: An attribute of functions that make layers.
MAKES_LAYERS = "makes_layers"


def constructor(function: Callable[P, Layer]) -> Callable[P, Layer]:
    """A function that makes layers, each of which then knows by what call it was made."""

    @wraps(function)
    def make(*args: P.args, **kwargs: P.kwargs) -> Layer:
        return replace(function(*args, **kwargs), made=Made(make, args, kwargs))

    vars(make)[MAKES_LAYERS] = True
    return make


@constructor
def stateless(
    name: str,
    init: Callable[[Key, Any], Weights],
    apply: Callable[[Weights, Any], Any],
    *,
    entries: Entries | None = None,
) -> Layer:
    """A layer without state whose training and inference are the same function.

    Args:
      name: the layer's name.
      init: ``init(key, x) -> weights``, where ``x`` has the ``shape`` and ``dtype`` of the input.
      apply: ``apply(weights, x) -> y``.
      entries: the shape of each entry of the weights, with a name in place of a size of the input, as in
        ``{"kernel": ("F", 3), "bias": (3,)}``: other params raise. None: any params pass.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> gain = nn.stateless("gain", lambda key, x: {"gain": jnp.ones((), x.dtype)},
    ...                     lambda weights, x: x * weights["gain"])
    >>> gain.init(jax.random.key(0), (1, 2)).weights
    {'gain': Array(1., dtype=float32)}
    """
    return _stateless("stateless", name, init, apply, entries)


def _stateless(
    owner: str,
    name: str,
    init: Callable[[Key, Any], Weights],
    apply: Callable[[Weights, Any], Any],
    entries: Entries | None,
) -> Layer:
    checks.text(owner, "name", name)
    checks.function(owner, "init", init)
    checks.function(owner, "apply", apply)
    check_entries(owner, entries)

    def init_params(key: Key, shape: Spec, /) -> Params:
        checks.key(name, key)
        return Params(init(key, as_spec(shape)), {})

    def infer(params: Params, x: Any, /) -> Any:
        return apply(params.weights, x)

    def train(params: Params, x: Any, /, key: Key | None = None) -> tuple[Any, State]:
        checks.optional_key(name, key)
        return apply(params.weights, x), {}

    checked = partial(checks_params, name, entries=entries)
    return Layer(name, init_params, checked(infer), checked(train), draws=False)


@constructor
def stochastic(
    name: str,
    init: Callable[[Key, Any], Weights],
    apply: Callable[[Weights, Any], Any],
    train: Callable[[Weights, Any, Key], Any],
    *,
    entries: Entries | None = None,
) -> Layer:
    """A layer without state that draws random numbers in training, such as dropout.

    Args:
      name: the layer's name.
      init: ``init(key, x) -> weights``, where ``x`` has the ``shape`` and ``dtype`` of the input.
      apply: ``apply(weights, x) -> y``: inference, which draws nothing.
      train: ``train(weights, x, key) -> y``.
      entries: as in ``stateless``.

    Raises:
      ValueError: from the layer's ``train`` without a key.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> noise = nn.stochastic("noise", lambda key, x: {}, lambda weights, x: x,
    ...                       lambda weights, x, key: x + jax.random.normal(key, x.shape, x.dtype))
    >>> net = nn.serial(noise, nn.dense(2))
    >>> params, x = net.init(jax.random.key(0), (1, 3)), jnp.ones((1, 3))
    >>> one, other = (net.train(params, x, jax.random.key(i))[0] for i in range(2))
    >>> bool((one == other).any())
    False
    """
    checks.function("stochastic", "train", train)
    still = _stateless("stochastic", name, init, apply, entries)

    def drawn(params: Params, x: Any, /, key: Key | None = None) -> tuple[Any, State]:
        if key is None:
            raise ValueError(
                f"{name}: train needs a key for its randomness, got None; pass one, as in "
                "net.train(params, x, key) with key = jax.random.key(0)"
            )
        checks.key(name, key)
        return train(params.weights, x, key), {}

    return replace(still, train=checks_params(name, drawn, entries=entries), draws=True)
