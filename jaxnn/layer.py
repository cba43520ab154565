"""The contract: what a layer is, what its parameters are, and how a shape is described.

A layer is a name and three pure functions::

    init(key, shape)            -> Params(weights, state)
    apply(params, x)            -> y
    train(params, x, key=None)  -> (y, state)

Nothing here computes anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial, wraps
from importlib import import_module
from typing import Any, NamedTuple, Protocol
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np
from jax.export import is_symbolic_dim
from jax.typing import DTypeLike

from jaxnn.entries import Entries, check_entries, require_entries
from jaxnn.ops import checks

Key = jax.Array
Weights = Any  #: a nested dict of arrays that an optimiser may change
State = Any  #: a nested dict of arrays that it may not
Spec = Any  #: a tuple of ints, a ``jax.ShapeDtypeStruct``, an array, or a pytree of them


class Params(NamedTuple):
    """All the arrays of a layer, as one pytree.

    ``weights`` is what an optimiser may touch. ``state`` is the rest: running statistics, frozen weights.
    """

    weights: Weights
    state: State


class Init(Protocol):
    """``init(key, shape) -> Params``: fresh parameters for an input of this shape, batch axis included."""

    def __call__(self, key: Key, shape: Spec, /) -> Params: ...


class Apply(Protocol):
    """``apply(params, x) -> y``: inference. Deterministic, each row of the batch independently."""

    def __call__(self, params: Params, x: Any, /) -> Any: ...


class Train(Protocol):
    """``train(params, x, key=None) -> (y, state)``: training, with batch statistics and dropout."""

    def __call__(self, params: Params, x: Any, key: Key | None = None, /) -> tuple[Any, State]: ...


class Visit(Protocol):
    """``visit(params, x, call) -> y``: ``apply`` with each part run by ``call(part, layer, params, x)``.

    ``visit`` serves to look inside a net without changing it: ``call`` may note what goes in and comes out.
    """

    def __call__(self, params: Params, x: Any, call: Call, /) -> Any: ...


Call = Callable[[str, "Layer", Params, Any], Any]
Cast = Callable[[Params, DTypeLike], Params]


@dataclass(frozen=True)
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
      cast: for a layer that keeps weights in its state: ``cast(params, dtype)`` gives params with all weights
        in that dtype. None where ``params.weights`` are all weights.

    >>> import jax, jaxnn as nn
    >>> layer = nn.dense(3)
    >>> params = layer.init(jax.random.key(0), (1, 4))
    >>> layer.apply(params, jax.numpy.ones((2, 4))).shape
    (2, 3)
    """

    name: str
    init: Init
    apply: Apply
    train: Train
    visit: Visit | None = field(default=None, repr=False)
    exact_name: bool = field(default=False, repr=False)
    draws: bool = field(default=True, repr=False)
    cast: Cast | None = field(default=None, repr=False)


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

    def train(params: Params, x: Any, key: Key | None = None, /) -> tuple[Any, State]:
        checks.optional_key(name, key)
        return apply(params.weights, x), {}

    checked = partial(checks_params, name, entries=entries)
    return Layer(name, init_params, checked(infer), checked(train), draws=False)


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

    def drawn(params: Params, x: Any, key: Key | None = None, /) -> tuple[Any, State]:
        if key is None:
            raise ValueError(
                f"{name}: train needs a key for its randomness, got None; pass one, as in "
                "net.train(params, x, key) with key = jax.random.key(0)"
            )
        checks.key(name, key)
        return train(params.weights, x, key), {}

    return replace(still, train=checks_params(name, drawn, entries=entries), draws=True)


def checks_params(
    name: str,
    function: Callable[..., Any],
    *,
    entries: Entries | None = None,
    state: Entries | None = None,
) -> Callable[..., Any]:
    """``function(params, ...)``, which says so in a sentence when ``params`` are those of another layer.

    That is, where they are not as ``entries`` and ``state`` say; without these, where an entry is missing.
    """

    @wraps(function)
    def checked(params: Params, *args: Any) -> Any:
        require_params(name, params)
        if entries is not None:
            require_entries(name, state or {}, params.state)
            require_entries(name, entries, params.weights)
            return function(params, *args)
        try:
            return function(params, *args)
        except KeyError as error:
            missing = _missing(function, params, args)
            if missing is None:
                raise
            raise ValueError(f"{name}: params of another net: {missing}") from error

    return checked


def _missing(function: Callable[..., Any], params: Params, args: tuple[Any, ...]) -> str | None:
    """Which entry of ``params`` is not there, if it was one of theirs that ``function`` did not find.

    A KeyError does not say which dict it is from, so the function runs again on dicts that do.
    """
    failed: list[tuple[KeyError, str]] = []

    class Telling(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            error = KeyError(name)
            failed.append((error, f"they have no entry {name!r}, only {sorted(self)}"))
            raise error

    def telling(tree: Any) -> Any:
        return Telling({k: telling(v) for k, v in tree.items()}) if type(tree) is dict else tree

    try:
        function(Params(*map(telling, params)), *args)
    except Exception as error:
        return next((sentence for known, sentence in failed if known is error), None)
    return None


def require_params(name: str, params: Any) -> None:
    """Raises unless ``params`` are ``Params`` at all."""
    if not isinstance(params, Params):
        raise TypeError(
            f"{name}: params must be Params(weights, state), as init gives, got {type(params).__name__}"
        )


def require_arguments(name: str, params: Any, x: Any, key: Any = None) -> None:
    """Raises unless these are what JAX's functions of functions can take: params, arrays, a key."""
    require_params(name, params)
    if jax.tree.leaves(x):  # a part may be made for None or ()
        checks.arrays(name, x)
    checks.optional_key(name, key)


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
    if address := _address(function):  # it is sent to another process by this, not as code
        check = checks.array if _is_activation(layer) else checks.arrays
        return stateless(
            name,
            lambda key, x: {},
            lambda weights, x: _traced_once(*address)(check(name, x)),
            entries={},
        )
    return stateless(name, lambda key, x: {}, lambda weights, x: function(x), entries={})


def _address(function: Callable[..., Any]) -> tuple[str, str] | None:
    """The module and the name of a function of JAX or of this library, which are known to be pure."""
    module, name = (str(getattr(function, part, "")) for part in ("__module__", "__qualname__"))
    if module.partition(".")[0] not in ("jax", "jaxnn"):
        return None
    return (module, name) if getattr(import_module(module), name, None) is function else None


def _is_activation(function: Callable[..., Any]) -> bool:
    """Whether it is a function of ``jax.nn``: given several arrays these raise, few with a clear sentence."""
    return ".nn." in f"{getattr(function, '__module__', '')}."


@cache
def _traced_once(module: str, name: str) -> Callable[..., Any]:
    """The function ``name`` of ``module``, traced once per shape instead of at every call."""
    return jax.jit(getattr(import_module(module), name), inline=True)


def _function_name(function: Callable[..., Any]) -> str:
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__).strip("<>_")


def fold_name(key: Key, name: str) -> Key:
    """The key of the part called ``name``: it depends on that name and on no other part."""
    return _fold_in(key, np.uint32(crc32(name.encode())))


_fold_in = jax.jit(jax.random.fold_in)  # as one program: a net folds in hundreds of names


def as_spec(shape: Spec, owner: str = "init") -> Any:
    """``shape`` in any of its forms as a ``jax.ShapeDtypeStruct``, or a pytree of them.

    A tuple of ints means the default float dtype; an array stands for its own shape and dtype. The leading
    axis (the batch) may be empty; any other size below 1 raises. An empty tuple is the shape of a scalar, but
    next to arrays or specs it is an empty part of the pytree.

    >>> from jaxnn.layer import as_spec
    >>> as_spec((1, 28, 28, 1))
    ShapeDtypeStruct(shape=(1, 28, 28, 1), dtype=float32)
    """
    if _is_described(shape):
        return _leaf_spec(owner, shape, shape)
    described = any(map(_is_described, jax.tree.leaves(shape)))

    def is_shape(node: Any) -> bool:
        return _is_shape(node) and not (described and len(node) == 0)

    return jax.tree.map(partial(_leaf_spec, owner, shape), shape, is_leaf=is_shape)


def value_spec(owner: str, x: Any) -> Any:
    """The specs of ``x``, which is an array, traced or not, a number, or a pytree of these.

    Unlike in ``as_spec``, a tuple of numbers is a tuple of numbers.
    """

    def spec(leaf: Any) -> jax.ShapeDtypeStruct:
        if not _is_described(leaf) and not isinstance(leaf, bool | int | float | complex):
            raise TypeError(f"{owner}: the input must be an array or a pytree of arrays, got {leaf!r} in it")
        return jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))

    return spec(x) if _is_described(x) else jax.tree.map(spec, x)


def _is_described(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")


def _is_shape(node: Any) -> bool:
    """Whether ``node`` is a tuple or list of sizes, not of specs."""
    return isinstance(node, tuple | list) and not isinstance(node, Params) and all(map(_is_size, node))


def _is_size(size: Any) -> bool:
    if isinstance(size, jax.core.Tracer):
        return size.shape == () and jnp.issubdtype(size.dtype, jnp.integer)
    return (isinstance(size, int | np.integer) and not isinstance(size, bool)) or is_symbolic_dim(size)


def _leaf_spec(owner: str, shape: Spec, leaf: Any) -> jax.ShapeDtypeStruct:
    """The spec of one ``leaf`` of ``shape``."""
    if _is_described(leaf):
        # As jnp.asarray would convert it: NumPy's float64 is float32 unless x64 is enabled.
        sizes, dtype = leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype, allow_extended_dtype=True)
    elif isinstance(leaf, tuple | list):
        sizes, dtype = tuple(leaf), jnp.result_type(float)
    else:
        raise TypeError(
            f"{owner}: shape must be a tuple of ints, a jax.ShapeDtypeStruct, an array, or a pytree of them, "
            f"got {checks.shown(shape)}"
        )
    if any(isinstance(size, jax.core.Tracer) for size in sizes):
        raise TypeError(
            f"{owner}: shape must not be traced; under jax.jit or jax.eval_shape give an array or a "
            "jax.ShapeDtypeStruct, or bind the shape first: jax.jit(lambda key: net.init(key, shape))"
        )
    if any(size < (axis > 0) for axis, size in enumerate(sizes) if not is_symbolic_dim(size)):
        raise ValueError(
            f"{owner}: every size must be at least 1 (the batch may be 0), got shape {tuple(sizes)}"
        )
    return jax.ShapeDtypeStruct(sizes, dtype)


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


def given_spec(owner: str, shape: Spec) -> Any:
    """``as_spec`` of what was given to the function ``owner``, where None is not a shape."""
    if shape is None:
        raise TypeError(
            f"{owner}: shape must be a tuple of ints, a jax.ShapeDtypeStruct, an array, or a pytree of them, "
            "got None"
        )
    return as_spec(shape, owner)


def output_spec(layer: Layer, shape: Spec) -> Any:
    """Like ``output_shape``, with the dtypes: a ``jax.ShapeDtypeStruct`` or a pytree of them."""

    def infer(key: Key, x: Any) -> Any:
        return layer.apply(layer.init(key, x), x)

    return jax.eval_shape(infer, jax.random.key(0), as_spec(shape))
