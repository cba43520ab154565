"""The contract: what a layer is, what its parameters are, and how a shape is described.

A layer is a name and three pure functions::

    init(key, shape)            -> Params(weights, state)
    apply(params, x)            -> y
    train(params, x, key=None)  -> (y, state)

Nothing here computes anything.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial, wraps
from typing import Any, NamedTuple, Protocol
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np
from jax.export import is_symbolic_dim

Key = jax.Array
Weights = Any  #: a nested dict of arrays that an optimiser may change
State = Any  #: a nested dict of arrays that it may not
Spec = Any  #: a tuple of ints, a ``jax.ShapeDtypeStruct``, an array, or a pytree of them


class Params(NamedTuple):
    """All the arrays of a layer, as one pytree.

    ``weights`` is what an optimiser may touch. ``state`` is all else: running statistics, frozen weights.
    """

    weights: Weights
    state: State


class Init(Protocol):
    """``init(key, shape) -> Params``: fresh parameters for an input of this shape, batch axis included."""

    def __call__(self, key: Key, shape: Spec, /) -> Params: ...


class Apply(Protocol):
    """``apply(params, x) -> y``: inference. Deterministic, and each row of the batch on its own."""

    def __call__(self, params: Params, x: Any, /) -> Any: ...


class Train(Protocol):
    """``train(params, x, key=None) -> (y, state)``: training, with batch statistics and dropout."""

    def __call__(self, params: Params, x: Any, key: Key | None = None, /) -> tuple[Any, State]: ...


class Visit(Protocol):
    """``visit(params, x, call) -> y``: ``apply`` with each part run by ``call(part, layer, params, x)``.

    This is how one looks inside a net without changing it: ``call`` may note what goes in and comes out.
    """

    def __call__(self, params: Params, x: Any, call: "Call", /) -> Any: ...


Call = Callable[[str, "Layer", Params, Any], Any]


@dataclass(frozen=True)
class Layer:
    """A name and three pure functions.

    Attributes:
      name: what a composite calls this layer; it appends ``_0``, ``_1``, ... unless ``exact_name``.
      init: ``init(key, shape) -> Params``. ``shape`` is that of the array ``apply`` will get.
      apply: ``apply(params, x) -> y``: inference.
      train: ``train(params, x, key=None) -> (y, state)``: training; ``state`` is the whole new state.
      visit: of a layer that is made of layers, see ``Visit``; None for one that is not.
      exact_name: a composite uses ``name`` as it stands; set by ``named``.

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


def stateless(
    name: str,
    init: Callable[[Key, Any], Weights],
    apply: Callable[[Weights, Any], Any],
) -> Layer:
    """A layer without state whose training and inference are the same function.

    Args:
      name: the layer's name.
      init: ``init(key, x) -> weights``, where ``x`` has the ``shape`` and ``dtype`` of the input.
      apply: ``apply(weights, x) -> y``.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> gain = nn.stateless("gain", lambda key, x: {"gain": jnp.ones((), x.dtype)},
    ...                     lambda weights, x: x * weights["gain"])
    >>> gain.init(jax.random.key(0), (1, 2)).weights
    {'gain': Array(1., dtype=float32)}
    """

    def init_params(key: Key, shape: Spec, /) -> Params:
        return Params(init(key, as_spec(shape)), {})

    def infer(params: Params, x: Any, /) -> Any:
        return apply(params.weights, x)

    def train(params: Params, x: Any, /) -> tuple[Any, State]:
        return apply(params.weights, x), {}

    return Layer(name, init_params, checks_params(name, infer), Keyless(checks_params(name, train)))


class Keyless:
    """A ``train`` that draws nothing, so that composites fold no key in for it: that is time to trace."""

    def __init__(self, train: Callable[[Params, Any], tuple[Any, State]]):
        self._train = train

    def __call__(self, params: Params, x: Any, key: Key | None = None, /) -> tuple[Any, State]:
        return self._train(params, x)


def checks_params(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function(params, ...)``, which says so in a sentence when ``params`` are those of another layer."""

    @wraps(function)
    def checked(params: Params, *args: Any) -> Any:
        require_params(name, params)
        try:
            return function(params, *args)
        except KeyError as error:
            found = sorted({**params.weights, **params.state})
            if error.args[0] in found:
                raise
            raise ValueError(
                f"{name}: params of another net: they have no entry {error}, only {found}"
            ) from error

    return checked


def require_params(name: str, params: Any) -> None:
    """Raises unless ``params`` are ``Params`` at all."""
    if not isinstance(params, Params):
        raise TypeError(
            f"{name}: params must be Params(weights, state), as init gives, got {type(params).__name__}"
        )


LayerLike = Layer | Callable[[Any], Any]  #: a layer, or a plain function of one array


def as_layer(layer: LayerLike) -> Layer:
    """The layer itself, or a plain function of one array as a layer without weights."""
    if isinstance(layer, Layer):
        return layer
    if not callable(layer):
        raise TypeError(f"a layer must be a Layer or a function of one array, got {layer!r}")
    function = _traced_once(layer) if _is_known(layer) else layer
    return stateless(_function_name(layer), lambda key, x: {}, lambda weights, x: function(x))


def _is_known(function: Callable[..., Any]) -> bool:
    """Whether it is a function of JAX or of this library by itself: those are known to be pure."""
    library = str(getattr(function, "__module__", "")).partition(".")[0]
    return library in ("jax", "jaxnn") and "<" not in getattr(function, "__qualname__", "<")


@cache
def _traced_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, traced once a shape instead of at every call."""
    return jax.jit(function, inline=True)


def _function_name(function: Callable[..., Any]) -> str:
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__).strip("<>_")


def fold_name(key: Key, name: str) -> Key:
    """The key of the part called ``name``: it depends on that name and on no other part."""
    return _fold_in(key, np.uint32(crc32(name.encode())))


_fold_in = jax.jit(jax.random.fold_in)  # as one program: a net asks for hundreds of keys


def as_spec(shape: Spec) -> Any:
    """``shape`` in any of its forms as a ``jax.ShapeDtypeStruct``, or a pytree of them.

    A tuple of ints means the default float dtype; an array stands for its own shape and dtype. The leading
    axis (the batch) may be empty; any other size below 1 raises.

    >>> from jaxnn.layer import as_spec
    >>> as_spec((1, 28, 28, 1))
    ShapeDtypeStruct(shape=(1, 28, 28, 1), dtype=float32)
    """
    return jax.tree.map(_leaf_spec, shape, is_leaf=_is_shape)


def _is_shape(node: Any) -> bool:
    """A tuple or list of sizes, as against a tuple of specs."""
    return isinstance(node, tuple | list) and not isinstance(node, Params) and all(map(_is_size, node))


def _is_size(size: Any) -> bool:
    if isinstance(size, jax.core.Tracer):
        return size.shape == ()
    return isinstance(size, int | np.integer) or is_symbolic_dim(size)


def _leaf_spec(leaf: Any) -> jax.ShapeDtypeStruct:
    if hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
        # As jnp.asarray would take it: NumPy's float64 is float32 unless x64 is enabled.
        sizes, dtype = leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype, allow_extended_dtype=True)
    elif isinstance(leaf, tuple | list):
        sizes, dtype = tuple(leaf), jnp.result_type(float)
    else:
        raise TypeError(
            "init: shape must be a tuple of ints, a jax.ShapeDtypeStruct, an array, or a pytree of them, "
            f"got {leaf!r}"
        )
    if any(isinstance(size, jax.core.Tracer) for size in sizes):
        raise TypeError(
            "init: shape must not be traced; under jax.jit or jax.eval_shape give an array or a "
            "jax.ShapeDtypeStruct, or bind the shape first: jax.jit(lambda key: net.init(key, shape))"
        )
    if any(size < (axis > 0) for axis, size in enumerate(sizes) if not is_symbolic_dim(size)):
        raise ValueError(
            f"init: every size must be at least 1 (the batch may be 0), got shape {tuple(sizes)}"
        )
    return jax.ShapeDtypeStruct(sizes, dtype)


def output_shape(layer: LayerLike, shape: Spec) -> Any:
    """The shape of what ``layer.apply`` gives for an input of ``shape``. Nothing is computed.

    For several outputs: a pytree of shapes.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.conv(8, 3), (1, 28, 28, 1))
    (1, 26, 26, 8)
    """
    return jax.tree.map(lambda spec: spec.shape, output_spec(as_layer(layer), shape))


def output_spec(layer: Layer, shape: Spec) -> Any:
    """Like ``output_shape``, with the dtypes: a ``jax.ShapeDtypeStruct`` or a pytree of them."""

    def infer(key: Key, x: Any) -> Any:
        return layer.apply(layer.init(key, x), x)

    return jax.eval_shape(infer, jax.random.key(0), as_spec(shape))
